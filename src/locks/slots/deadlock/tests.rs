//! Scenes told one by one; the same answers by trying out everything; and worlds in which everybody has to come to
//! an end.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn wait(of: &[Pid], enough: usize, before: Option<Pid>) -> Wait {
    Wait { of: of.to_vec(), enough, before }
}

fn finding(graph: &Graph, me: Pid) -> Finding {
    judge(graph, me, &[]).0
}

#[test]
fn who_waits_for_a_process_that_runs_waits_on() {
    let graph = Graph::from([(1, wait(&[2, 3], 1, None)), (2, Wait::for_all(vec![1]))]);
    assert_eq!(finding(&graph, 1), Finding::Nothing);
}

#[test]
fn a_prepared_transaction_is_waited_for() {
    let graph = Graph::from([(1, wait(&[0, 2], 1, None)), (2, Wait::for_all(vec![1]))]);
    assert_eq!(finding(&graph, 1), Finding::Nothing);
}

/// Three slots are held; two of them must get free, and one holder waits for the waiter.
#[test]
fn not_enough_holders_are_left() {
    let graph = Graph::from([(1, wait(&[2, 3, 4], 3, None)), (2, Wait::for_all(vec![1]))]);
    assert_eq!(finding(&graph, 1), Finding::Deadlock(vec![1, 2]));
    let graph = Graph::from([(1, wait(&[2, 3, 4], 2, None)), (2, Wait::for_all(vec![1]))]);
    assert_eq!(finding(&graph, 1), Finding::Nothing);
}

#[test]
fn who_only_waits_for_those_in_a_deadlock_is_no_victim() {
    let graph = Graph::from([
        (1, wait(&[2], 1, None)),
        (2, Wait::for_all(vec![3])),
        (3, Wait::for_all(vec![2])),
    ]);
    assert_eq!(finding(&graph, 1), Finding::Nothing);
}

/// 2 would get a slot at once, if 1 were not before it, and 1 waits for who waits for 2.
#[test]
fn the_order_of_the_queue_is_no_deadlock() {
    let graph = Graph::from([
        (1, wait(&[3], 1, None)),
        (2, wait(&[3], 0, Some(1))),
        (3, Wait::for_all(vec![2])),
    ]);
    assert_eq!(finding(&graph, 1), Finding::OutOfOrder);
    assert_eq!(judge(&graph, 1, &[]).1, HashSet::from([1, 2, 3]));
}

/// The culprit waits behind an innocent, who gives way to it.
#[test]
fn the_culprit_is_the_victim() {
    let graph = Graph::from([
        (1, wait(&[3], 1, None)),
        (2, wait(&[3], 1, Some(1))),
        (3, Wait::for_all(vec![2])),
    ]);
    assert_eq!(finding(&graph, 1), Finding::OutOfOrder);
    let graph = Graph::from([
        (2, wait(&[3], 1, None)),
        (1, wait(&[3], 1, Some(2))),
        (3, Wait::for_all(vec![2])),
    ]);
    assert_eq!(finding(&graph, 2), Finding::Deadlock(vec![2, 3]));
}

#[test]
fn who_can_go_on_itself_gives_way_to_a_deadlock_behind_it() {
    // 1 waits for one of 3 and 4, of whom 4 is idle; 2, behind it, for both, and 3 for 2.
    let graph = Graph::from([
        (1, wait(&[3, 4], 1, None)),
        (2, wait(&[3, 4], 2, Some(1))),
        (3, Wait::for_all(vec![2])),
    ]);
    assert_eq!(judge(&graph, 1, &[2]), (Finding::OutOfOrder, HashSet::from([2, 3])));
    assert_eq!(finding(&graph, 2), Finding::Deadlock(vec![2, 3]));
}

/// The same answers by trying out everything.
mod brute_force {
    use super::*;

    fn can_go_on(graph: &Graph, order: Order, gone: &BTreeSet<Pid>, pid: Pid) -> bool {
        let is_gone = |other: &Pid| gone.contains(other);
        graph.get(&pid).is_none_or(|wait| {
            wait.of.iter().filter(|pid| is_gone(pid)).count() >= wait.enough
                && (order == Order::Ignored || wait.before.iter().all(is_gone))
        })
    }

    /// Every order in which processes can go on.
    pub fn stuck(graph: &Graph, order: Order) -> HashSet<Pid> {
        let mut all: BTreeSet<Pid> = graph.keys().copied().collect();
        all.extend(graph.values().flat_map(|wait| wait.of.iter().copied().chain(wait.before)));
        let mut seen = BTreeSet::from([BTreeSet::new()]);
        let mut open = vec![BTreeSet::new()];
        while let Some(gone) = open.pop() {
            for &pid in all.difference(&gone) {
                if can_go_on(graph, order, &gone, pid) {
                    let mut next = gone.clone();
                    next.insert(pid);
                    if seen.insert(next.clone()) {
                        open.push(next);
                    }
                }
            }
        }
        all.into_iter().filter(|pid| seen.iter().all(|gone| !gone.contains(pid))).collect()
    }

    /// Is there a way from a stuck process back to it, along stuck ones?
    pub fn in_a_circle(graph: &Graph, order: Order, me: Pid) -> bool {
        let stuck = stuck(graph, order);
        let edge = |a: &Pid, b: &Pid| graph[a].edges(order).any(|other| other == *b);
        let mut way: BTreeSet<(Pid, Pid)> = BTreeSet::new();
        for a in &stuck {
            way.extend(stuck.iter().filter(|b| edge(a, b)).map(|b| (*a, *b)));
        }
        for over in &stuck {
            for a in &stuck {
                for b in &stuck {
                    if way.contains(&(*a, *over)) && way.contains(&(*over, *b)) {
                        way.insert((*a, *b));
                    }
                }
            }
        }
        way.contains(&(me, me))
    }
}

prop_compose! {
    fn any_wait()(
        of in proptest::collection::vec(0..7, 0..5),
        less in 0usize..3,
        before in proptest::option::of(1..7),
    ) -> Wait {
        Wait { enough: of.len().saturating_sub(less), of, before }
    }
}

/// Up to six processes; 0 is a prepared transaction.
fn any_graph() -> impl Strategy<Value = Graph> {
    proptest::collection::hash_map(1..7, any_wait(), 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_brute_force(graph in any_graph()) {
        for order in [Order::Ignored, Order::Kept] {
            prop_assert_eq!(stuck(&graph, order), brute_force::stuck(&graph, order));
        }
        for me in 1..7 {
            let (finding, rests_on) = judge(&graph, me, &[]);
            let deadlock = brute_force::in_a_circle(&graph, Order::Ignored, me);
            let out_of_order = !deadlock && brute_force::in_a_circle(&graph, Order::Kept, me);
            prop_assert_eq!(matches!(finding, Finding::Deadlock(_)), deadlock);
            prop_assert_eq!(finding == Finding::OutOfOrder, out_of_order);
            prop_assert_eq!(rests_on.contains(&me), deadlock || out_of_order);
            if let Finding::Deadlock(circle) = finding {
                prop_assert_eq!(circle[0], me);
                for (i, pid) in circle.iter().enumerate() {
                    prop_assert!(graph[pid].of.contains(&circle[(i + 1) % circle.len()]));
                    prop_assert!(rests_on.contains(pid));
                }
            }
        }
    }
}

/// Of a name, who holds a slot, and who waits for one, in order, and for how many.
#[derive(Clone, Debug, Default)]
struct Name {
    holders: BTreeSet<Pid>,
    queue: Vec<(Pid, usize)>,
}

/// Sessions that hold and await slots and plain locks, as they run, look, give way and fail.
#[derive(Clone, Debug)]
struct World {
    names: Vec<Name>,
    /// Who waits for others' plain locks.
    plain: BTreeMap<Pid, BTreeSet<Pid>>,
    /// Those who end only when nobody else can.
    idle: BTreeSet<Pid>,
}

impl World {
    fn graph(&self) -> Graph {
        let mut graph = self.plain_graph();
        for Name { holders, queue } in &self.names {
            for (i, &(pid, slots)) in queue.iter().enumerate() {
                let of: Vec<Pid> = holders.iter().copied().filter(|&other| other != pid).collect();
                let enough = (of.len() + 1).saturating_sub(slots);
                let before = i.checked_sub(1).map(|previous| queue[previous].0);
                graph.insert(pid, Wait { of, enough, before });
            }
        }
        graph
    }

    fn plain_graph(&self) -> Graph {
        let all = |of: &BTreeSet<Pid>| Wait::for_all(of.iter().copied().collect());
        self.plain.iter().map(|(&pid, of)| (pid, all(of))).collect()
    }

    /// One who can go on now, and of whom that makes a difference to the others.
    fn who_can_go_on(&self, graph: &Graph, idle: bool) -> Option<Pid> {
        let free = |wait: &Wait| wait.enough == 0 && wait.before.is_none();
        let awaited = |pid: &Pid| graph.values().any(|wait| wait.of.contains(pid));
        (1..9)
            .filter(|pid| self.idle.contains(pid) == idle)
            .find(|pid| graph.get(pid).map_or_else(|| awaited(pid), free))
    }

    /// The head of a queue that gets its slot, and is idle then; false if there is none.
    fn idle_head_takes_its_slot(&mut self, graph: &Graph) -> bool {
        for Name { holders, queue } in &mut self.names {
            let head = queue.first().map_or(0, |&(pid, _)| pid);
            if self.idle.contains(&head) && graph[&head].enough == 0 {
                queue.remove(0);
                holders.insert(head);
                return true;
            }
        }
        false
    }

    /// What the heads of the queues find.
    fn findings(&self, graph: &Graph) -> Vec<(Pid, Finding)> {
        let queues = self.names.iter().map(|name| name.queue.iter().map(|&(pid, _)| pid));
        let look = |queue: Vec<Pid>| {
            let (&head, behind) = queue.split_first()?;
            Some((head, judge(graph, head, behind).0))
        };
        queues.filter_map(|queue| look(queue.collect())).collect()
    }

    fn end(&mut self, pid: Pid) {
        for Name { holders, queue } in &mut self.names {
            holders.remove(&pid);
            queue.retain(|&(waiter, _)| waiter != pid);
        }
        self.plain.remove(&pid);
        for of in self.plain.values_mut() {
            of.remove(&pid);
        }
    }

    fn give_way(&mut self, head: Pid) {
        for Name { queue, .. } in &mut self.names {
            if queue.first().is_some_and(|&(pid, _)| pid == head) {
                queue.rotate_left(1);
            }
        }
    }

    /// One in a circle of plain locks alone, which Postgres finds.
    fn victim_of_postgres(&self) -> Option<Pid> {
        let graph = self.plain_graph();
        graph.keys().copied().find(|&pid| finding(&graph, pid) != Finding::Nothing)
    }
}

prop_compose! {
    fn any_world()(
        holders in proptest::collection::vec(proptest::collection::btree_set(1..9, 0..4), 2),
        waiters in proptest::sample::subsequence((1..9).collect::<Vec<Pid>>(), 2..7).prop_shuffle(),
        places in proptest::collection::vec((0usize..2, 1usize..4), 8),
        plain in proptest::collection::btree_map(1..9, proptest::collection::btree_set(1..9, 1..3), 0..6),
        idle in proptest::collection::btree_set(1..9, 0..4),
    ) -> World {
        let name = |holders| Name { holders, ..Name::default() };
        let mut names: Vec<Name> = holders.into_iter().map(name).collect();
        for (&pid, &(name, slots)) in waiters.iter().zip(&places) {
            // Who holds a slot of a name does not wait for another.
            if !names[name].holders.contains(&pid) {
                names[name].queue.push((pid, slots));
            }
        }
        let mut world = World { names, plain, idle };
        let waiting = world.names.iter().flat_map(|name| &name.queue);
        for (pid, _) in waiting {
            world.plain.remove(pid);
        }
        for (pid, of) in &mut world.plain {
            of.remove(pid);
        }
        world
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every deadlock is found, whoever is idle meanwhile, and so everybody ends; and where all could have gone on,
    /// nobody gets an error.
    #[test]
    fn everybody_ends_and_nobody_fails_for_nothing(mut world in any_world(), first in 0usize..2) {
        let hopeless = stuck(&world.graph(), Order::Ignored);
        let mut victims = 0;
        // How often they gave way since something else happened: they may do so as long as they wait for who is idle.
        let mut gave_way = 0;
        for round in 0.. {
            let graph = world.graph();
            if graph.is_empty() {
                break;
            }
            gave_way += 1;
            if let Some(pid) = world.who_can_go_on(&graph, false) {
                world.end(pid);
                gave_way = 0;
                continue;
            }
            if world.idle_head_takes_its_slot(&graph) {
                gave_way = 0;
                continue;
            }
            // They look in turn.
            let mut found = world.findings(&graph);
            let turns = (first + round) % found.len().max(1);
            found.rotate_left(turns);
            match found.into_iter().find(|(_, finding)| *finding != Finding::Nothing) {
                Some((head, Finding::OutOfOrder)) if gave_way < 200 => world.give_way(head),
                Some((head, Finding::Deadlock(_))) => {
                    victims += 1;
                    world.end(head);
                    gave_way = 0;
                }
                _ => {
                    gave_way = 0;
                    let next = world.victim_of_postgres().or_else(|| {
                        let idle = world.who_can_go_on(&graph, true);
                        idle.filter(|_| stuck(&graph, Order::Ignored).is_empty())
                    });
                    prop_assert!(next.is_some(), "nobody finds it: {world:?}");
                    world.end(next.unwrap());
                }
            }
        }
        prop_assert!(victims == 0 || !hopeless.is_empty());
    }
}
