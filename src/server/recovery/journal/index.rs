//! What is in the log, known without asking the file: which ids there are of each scope, and what each takes.
//!
//! It is what makes a gap impossible: a row that should be there and is not, or is not what was written, is an
//! error when it is read, whatever has happened to the file.

use crate::slack::{give_back, give_back_queue};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// See the module.
pub(super) struct Index {
    /// Size and scope of each row, oldest first: ids `pruned + 1` and on.
    rows: VecDeque<(u32, Arc<str>)>,
    /// The highest id that is no longer there.
    pruned: u64,
    bytes: usize,
    ids: HashMap<Arc<str>, VecDeque<u64>>,
}

impl Index {
    /// Of an empty log, in which ids go on after `pruned`.
    pub(super) fn new(pruned: u64) -> Self {
        Self { rows: VecDeque::new(), pruned, bytes: 0, ids: HashMap::new() }
    }

    /// The id of the last row there is, or was.
    pub(super) fn last(&self) -> u64 {
        self.pruned + self.rows.len() as u64
    }

    /// The highest id that is no longer there.
    pub(super) fn pruned(&self) -> u64 {
        self.pruned
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What all rows take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A row more, under the next id.
    pub(super) fn push(&mut self, scope: &str, size: u32) {
        let id = self.last() + 1;
        let scope = match self.ids.get_key_value(scope) {
            Some((known, _)) => known.clone(),
            None => scope.into(),
        };
        self.ids.entry(scope.clone()).or_default().push_back(id);
        self.rows.push_back((size, scope));
        self.bytes += size as usize;
    }

    /// Takes the oldest row out; gives its scope.
    pub(super) fn pop(&mut self) -> Option<Arc<str>> {
        let (size, scope) = self.rows.pop_front()?;
        give_back_queue(&mut self.rows);
        self.bytes -= size as usize;
        self.pruned += 1;
        if let Some(ids) = self.ids.get_mut(&scope) {
            ids.pop_front();
            if ids.is_empty() {
                self.ids.remove(&scope);
                give_back(&mut self.ids);
            }
        }
        Some(scope)
    }

    /// Rows of these scopes, of each above an id of its own, none above `to`: the oldest, as many as `rows` and
    /// `bytes` allow, one at least. And whether that is all of them.
    pub(super) fn above(
        &self,
        wanted: &[(String, u64)],
        to: u64,
        (rows, bytes): (usize, usize),
    ) -> (Vec<(u64, Arc<str>)>, bool) {
        let mut found = Vec::new();
        for (scope, from) in wanted {
            let Some((scope, ids)) = self.ids.get_key_value(scope.as_str()) else { continue };
            let first = ids.partition_point(|id| id <= from);
            // One more than can be taken: it tells whether that is all.
            let ids = ids.range(first..).take_while(|id| **id <= to).take(rows + 1);
            found.extend(ids.map(|id| (*id, scope.clone())));
        }
        found.sort_unstable();
        let mut left = bytes;
        let fits = |(id, _): &&(u64, Arc<str>)| {
            let row = usize::try_from(id - self.pruned - 1).ok().and_then(|at| self.rows.get(at));
            let size = row.map_or(0, |(size, _)| *size as usize);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        };
        let take = found.iter().take(rows).take_while(fits).count().max(1).min(found.len());
        let all = take == found.len();
        found.truncate(take);
        (found, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It says the same as a plain list of the rows.
        #[test]
        fn it_is_a_list(scopes in prop::collection::vec(0u8..4, 0..60), pruned in 0usize..60, from in prop::collection::vec(0u64..70, 4), to in 0u64..70, rows in 1usize..20) {
            let (mut index, mut list) = (Index::new(10), Vec::new());
            for (n, scope) in scopes.iter().enumerate() {
                index.push(&scope.to_string(), 7);
                list.push((11 + n as u64, scope.to_string()));
            }
            for _ in 0..pruned.min(list.len()) {
                prop_assert_eq!(&*index.pop().unwrap(), &list.remove(0).1);
            }
            prop_assert_eq!((index.len(), index.bytes()), (list.len(), 7 * list.len()));
            prop_assert_eq!(index.last(), 10 + scopes.len() as u64);
            let wanted: Vec<_> = (0..3).map(|scope: usize| (scope.to_string(), from[scope])).collect();
            list.retain(|(id, scope)| *id <= to && wanted.iter().any(|(name, from)| name == scope && id > from));
            let (found, all) = index.above(&wanted, to, (rows, usize::MAX));
            prop_assert_eq!(all, list.len() <= rows);
            list.truncate(rows);
            prop_assert_eq!(found.iter().map(|(id, scope)| (*id, scope.to_string())).collect::<Vec<_>>(), list);
        }
    }

    #[test]
    fn large_rows_come_few_at_a_time_but_they_come() {
        let mut index = Index::new(0);
        [400, 400, 5000, 10].iter().for_each(|size| index.push("r", *size));
        let read = |from| {
            let (found, all) = index.above(&[("r".into(), from)], 9, (100, 1000));
            (found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all)
        };
        assert_eq!(read(0), (vec![1, 2], false));
        assert_eq!(read(2), (vec![3], false));
        assert_eq!(read(3), (vec![4], true));
        assert_eq!(read(4), (vec![], true));
    }
}
