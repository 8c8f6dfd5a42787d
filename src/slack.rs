//! Slack: the room that a crowd leaves behind in a table.
//!
//! A hash table grows and never shrinks by itself. After ten thousand people have left, theirs would stay for ever.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Tables of up to so many entries stay as they are.
const SMALL: usize = 64;

/// Gives memory back where an eighth of it would do. Called when something was removed: then enough has been removed
/// to pay for it, and it is O(1) on the average.
pub(crate) fn give_back<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if is_slack(table.len(), table.capacity()) {
        table.shrink_to(2 * table.len());
    }
}

fn is_slack(len: usize, capacity: usize) -> bool {
    capacity > SMALL && len < capacity / 8
}

/// The same of a queue.
pub(crate) fn give_back_queue<T>(queue: &mut VecDeque<T>) {
    if is_slack(queue.len(), queue.capacity()) {
        queue.shrink_to(2 * queue.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shrinks_with_what_is_in_it() {
        let mut table: HashMap<usize, usize> = (0..10_000).map(|n| (n, n)).collect();
        for n in 0..10_000 {
            table.remove(&n);
            give_back(&mut table);
            assert!(table.capacity() <= SMALL.max(8 * (table.len() + 1)) || table.len() > 1000, "{n}");
        }
        assert!(table.capacity() <= SMALL, "{}", table.capacity());
    }

    #[test]
    fn so_does_a_queue() {
        let mut queue: VecDeque<usize> = (0..10_000).collect();
        while queue.pop_front().is_some() {
            give_back_queue(&mut queue);
            assert!(queue.capacity() <= SMALL.max(8 * (queue.len() + 1)));
        }
    }
}
