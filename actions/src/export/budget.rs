//! A limit of bytes over all containers, shared fairly; the newest lines are kept.

use std::collections::VecDeque;

/// Memory that a line needs beside its text: its place in the queue, and what the allocator rounds up.
const LINE_COST: usize = 64;
/// The most memory that lines may take: a Job's pod has 64 MiB, and very short lines need many times their text.
const MEMORY: usize = 40 << 20;

/// The most memory for lines beside a bundle of up to 16 MiB.
const MEMORY_BESIDE_A_BUNDLE: usize = 24 << 20;

/// The lines kept of one container.
#[derive(Debug, Default)]
pub struct Share {
    /// The newest lines.
    pub lines: VecDeque<Box<[u8]>>,
    /// Number of bytes, line ends included.
    pub bytes: usize,
    /// Number of older lines that were dropped.
    pub dropped: usize,
}

/// Limits the lines: whenever the limit is exceeded, the container that holds the most bytes loses its oldest line. So
/// a container with few lines loses nothing, the others end up equal, and no more than the limit is ever in memory.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    memory: usize,
    held: usize,
    lines: usize,
    shares: Vec<Share>,
}

impl Budget {
    /// Allows this many bytes for this many containers.
    pub fn new(most: usize, containers: usize) -> Self {
        Self {
            most,
            memory: MEMORY,
            held: 0,
            lines: 0,
            shares: std::iter::repeat_with(Share::default).take(containers).collect(),
        }
    }

    /// Allows less memory for the lines, because a bundle as large as they are is made beside them.
    #[must_use]
    pub fn beside_a_bundle(self) -> Self {
        Self { memory: MEMORY_BESIDE_A_BUNDLE, ..self }
    }

    /// Adds a line of one container.
    pub fn push(&mut self, container: usize, line: &[u8]) {
        let Some(share) = self.shares.get_mut(container) else { return };
        let size = line.len() + 1;
        share.bytes += size;
        self.held += size;
        share.lines.push_back(line.into());
        self.lines += 1;
        while self.held > self.most || self.held + self.lines * LINE_COST > self.memory {
            let Some(largest) = self.shares.iter_mut().max_by_key(|share| share.bytes) else { return };
            let Some(oldest) = largest.lines.pop_front() else { return };
            largest.bytes -= oldest.len() + 1;
            largest.dropped += 1;
            self.lines -= 1;
            self.held -= oldest.len() + 1;
        }
    }

    /// Returns whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Returns the kept lines of each container, in the containers' order.
    pub fn into_shares(self) -> Vec<Share> {
        self.shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(budget: &mut Budget, container: usize, lines: usize) {
        for number in 0..lines {
            budget.push(container, format!("{number:04}").as_bytes());
        }
    }

    #[test]
    fn small_logs_are_whole_and_large_ones_share_the_rest() {
        // 5 bytes a line with its end: room for 100 lines.
        let mut budget = Budget::new(500, 3);
        fill(&mut budget, 0, 10);
        fill(&mut budget, 1, 1000);
        fill(&mut budget, 2, 1000);
        let shares = budget.into_shares();
        let kept: Vec<_> = shares.iter().map(|share| share.lines.len()).collect();
        assert_eq!(kept, [10, 45, 45]);
        assert_eq!(&**shares[1].lines.back().unwrap(), b"0999", "the newest are kept");
        assert_eq!(shares[1].dropped, 955);
    }

    #[test]
    fn what_lines_cost_beside_their_bytes_counts_as_memory() {
        let mut budget = Budget { memory: 10 * (5 + LINE_COST), ..Budget::new(1 << 20, 1) };
        fill(&mut budget, 0, 10);
        assert_eq!((budget.lines, budget.held, budget.is_empty()), (10, 50, false));
        fill(&mut budget, 0, 90);
        let share = &budget.shares[0];
        assert_eq!((budget.lines, budget.held, share.lines.len(), share.dropped), (10, 50, 10, 90));
        let beside = Budget::new(1, 1).beside_a_bundle().memory;
        assert!(beside < Budget::new(1, 1).memory && beside > 1 << 20, "{beside}");
    }

    #[test]
    fn a_line_larger_than_the_budget_is_dropped() {
        let mut budget = Budget::new(3, 1);
        fill(&mut budget, 0, 1);
        assert!(budget.is_empty());
        assert_eq!(budget.into_shares()[0].dropped, 1);
    }
}
