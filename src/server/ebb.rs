//! Ebb: when a crowd has left, the memory that it took goes back to the system.
//!
//! It is looked at where somebody leaves (`doors`), not by the clock. A crowd that comes back at once, as after a break
//! of the line, takes what it left: nothing is given back then.

use super::doors::Doors;
use crate::heap;
use std::{sync::Arc, time::Duration};

/// Fewer connections and sessions than these are no crowd: what they leave is reused sooner than it is missed.
const CROWD: usize = 1000;
/// Until those who are leaving have left, and those who come back at once are back.
const PAUSE: Duration = Duration::from_secs(2);

/// How many there were at most since memory was last given back.
#[derive(Default)]
pub(super) struct Mark(usize);

impl Mark {
    /// There are so many now, after somebody came.
    pub(super) fn rise(&mut self, inside: usize) {
        self.0 = self.0.max(inside);
    }

    /// Whether a crowd has left since, and as many as are still here.
    pub(super) fn has_ebbed(&self, inside: usize) -> bool {
        self.0.saturating_sub(inside) >= inside.max(CROWD)
    }

    /// What those who left took is given back.
    pub(super) fn settle(&mut self, inside: usize) {
        self.0 = inside;
    }
}

/// Gives memory back whenever a crowd has left, and once more after `kept`, when nothing is known any more of who was in
/// it and what was said: until then something is kept of each.
pub(super) async fn run(doors: Arc<Doors>, kept: Duration) {
    let mut more = false;
    loop {
        tokio::select! {
            () = doors.ebb() => {
                tokio::time::sleep(PAUSE).await;
                if !doors.settle() {
                    continue;
                }
                more = true;
            }
            () = tokio::time::sleep(kept), if more => more = false,
        }
        tracing::debug!("a crowd has left: giving its memory back");
        // It ends, and nothing depends on how.
        let _ = tokio::task::spawn_blocking(heap::give_back).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_of_a_crowd_is_an_ebb_and_a_few_are_not() {
        for (most, now, ebbed) in [
            (0, 0, false),
            (CROWD - 1, 0, false),
            (CROWD, 0, true),
            (CROWD, 1, false),
            (20_000, 10_001, false),
            (20_000, 10_000, true),
            (1900, 900, true),
        ] {
            let mut mark = Mark::default();
            mark.rise(most);
            mark.rise(now);
            assert_eq!(mark.has_ebbed(now), ebbed, "{most} to {now}");
            mark.settle(now);
            assert!(!mark.has_ebbed(now), "once is enough");
        }
    }

    proptest! {
        /// However they come and go: what is not given back is less than a crowd's, or than that of those who are here.
        #[test]
        fn never_more_than_half_is_kept(counts in prop::collection::vec(0usize..30_000, 1..50)) {
            let (mut mark, mut most) = (Mark::default(), 0);
            for inside in counts {
                mark.rise(inside);
                most = most.max(inside);
                if mark.has_ebbed(inside) {
                    mark.settle(inside);
                    most = inside;
                }
                prop_assert!(most - inside < inside.max(CROWD));
            }
        }
    }
}
