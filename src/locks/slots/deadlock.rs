//! Is there a deadlock? A pure function of who waits for whom.
//!
//! Postgres knows those who wait until *all* of some others have gone on. Who waits for a slot waits until *enough*
//! of its holders have, and, in the queue, until the one before has. A process can go on sooner or later if what it
//! waits for can; the others are stuck, and only an error can help.
//!
//! The order of the queue alone is no reason for an error: where it closes the circle, giving way helps, that is, going
//! to the end of the queue.

use std::collections::{HashMap, HashSet, VecDeque};

/// A process by its number; 0 is any prepared transaction, which waits for nothing.
pub type Pid = i32;

/// What a process waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The processes that must go on,
    pub of: Vec<Pid>,
    /// so many of them.
    pub enough: usize,
    /// And the one before it in the queue for slots.
    pub before: Option<Pid>,
}

impl Wait {
    /// Until all of these have gone on.
    pub fn for_all(of: Vec<Pid>) -> Self {
        Self { enough: of.len(), of, before: None }
    }

    /// Whom it waits for, with or without the order of the queue.
    fn edges(&self, order: Order) -> impl Iterator<Item = Pid> {
        self.of.iter().copied().chain(self.before.filter(|_| order == Order::Kept))
    }
}

/// Who waits, and for whom. Who is not here can go on.
pub type Graph = HashMap<Pid, Wait>;

/// What is wrong with a process that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It can go on sooner or later, or it is others who have to do something.
    Nothing,
    /// It waits for ever unless the order of the queue changes: it should give way.
    OutOfOrder,
    /// It waits for ever, for these in turn, the last of whom waits for it.
    Deadlock(Vec<Pid>),
}

/// What is wrong with `me`, who has these `behind` it in its queue, and whose waits this rests on.
///
/// Who is behind looks for deadlocks of its own only as the head of the queue, so where it waits for ever whatever the
/// order is, `me` should give way even if it is well itself.
pub fn judge(graph: &Graph, me: Pid, behind: &[Pid]) -> (Finding, HashSet<Pid>) {
    for order in [Order::Ignored, Order::Kept] {
        let stuck = stuck(graph, order);
        let (reached, circle) = search(graph, order, &stuck, me);
        if let Some(circle) = circle {
            let finding = match order {
                Order::Ignored => Finding::Deadlock(circle),
                Order::Kept => Finding::OutOfOrder,
            };
            return (finding, reached);
        }
    }
    let stuck = stuck(graph, Order::Ignored);
    for &other in behind {
        if let (reached, Some(_)) = search(graph, Order::Ignored, &stuck, other) {
            return (Finding::OutOfOrder, reached);
        }
    }
    (Finding::Nothing, HashSet::new())
}

/// Does who waits in a queue have to wait for the one before?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
    Ignored,
}

/// The processes that can never go on.
fn stuck(graph: &Graph, order: Order) -> HashSet<Pid> {
    /// What a process still waits for.
    struct Open {
        enough: usize,
        before: bool,
    }
    let mut open: HashMap<Pid, Open> = HashMap::new();
    // For whom a process has to go on; the one before in the queue counts apart from the holders.
    let mut dependents: HashMap<Pid, Vec<(Pid, bool)>> = HashMap::new();
    let mut live = VecDeque::new();
    let mut seen = HashSet::new();
    for (&pid, wait) in graph {
        let before = wait.before.filter(|_| order == Order::Kept);
        let state = Open { enough: wait.enough, before: before.is_some() };
        if state.enough == 0 && !state.before {
            seen.insert(pid);
            live.push_back(pid);
        }
        open.insert(pid, state);
        for &other in &wait.of {
            dependents.entry(other).or_default().push((pid, false));
        }
        if let Some(before) = before {
            dependents.entry(before).or_default().push((pid, true));
        }
    }
    for &pid in dependents.keys() {
        if !graph.contains_key(&pid) && seen.insert(pid) {
            live.push_back(pid);
        }
    }
    while let Some(pid) = live.pop_front() {
        for &(dependent, is_order) in dependents.get(&pid).into_iter().flatten() {
            let Some(state) = open.get_mut(&dependent) else { continue };
            match is_order {
                true => state.before = false,
                false => state.enough = state.enough.saturating_sub(1),
            }
            if state.enough == 0 && !state.before && seen.insert(dependent) {
                live.push_back(dependent);
            }
        }
    }
    graph.keys().copied().filter(|pid| !seen.contains(pid)).collect()
}

/// Goes from `me` along the waits of those who are stuck: whom it reaches, and the shortest way back to `me`.
fn search(
    graph: &Graph,
    order: Order,
    stuck: &HashSet<Pid>,
    me: Pid,
) -> (HashSet<Pid>, Option<Vec<Pid>>) {
    let mut from: HashMap<Pid, Pid> = HashMap::new();
    let mut circle = None;
    let mut reached = HashSet::new();
    let mut next = VecDeque::new();
    if stuck.contains(&me) {
        reached.insert(me);
        next.push_back(me);
    }
    while let Some(pid) = next.pop_front() {
        for other in graph[&pid].edges(order).filter(|other| stuck.contains(other)) {
            if other == me && circle.is_none() {
                let mut back = vec![pid];
                while let Some(&previous) = from.get(&back[back.len() - 1]) {
                    back.push(previous);
                }
                back.reverse();
                circle = Some(back);
            }
            if reached.insert(other) {
                from.insert(other, pid);
                next.push_back(other);
            }
        }
    }
    (reached, circle)
}

#[cfg(test)]
mod tests;
