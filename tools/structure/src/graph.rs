//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A directed graph: for each node, the nodes that its arrows lead to.
pub type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// Circles that have no arrow in common, shortest first, so that every circle of the graph shares an arrow with one of
/// them. A circle is the list of its nodes; the last one leads to the first.
pub fn circles(graph: &Graph) -> Vec<Vec<usize>> {
    let mut rest = graph.clone();
    let mut circles = Vec::new();
    while let Some(circle) = shortest_circle(&rest) {
        for (from, to) in arrows(&circle) {
            if let Some(targets) = rest.get_mut(&from) {
                targets.remove(&to);
            }
        }
        circles.push(circle);
    }
    circles
}

/// The arrows of a circle.
pub fn arrows(circle: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    circle.iter().copied().zip(circle.iter().copied().cycle().skip(1))
}

/// The nodes that lie on a circle with this one, itself included; empty if it lies on none.
pub fn tangle(graph: &Graph, node: usize) -> BTreeSet<usize> {
    reached(graph, node).into_iter().filter(|other| reached(graph, *other).contains(&node)).collect()
}

/// The nodes that arrows lead to from this one, in any number of steps.
fn reached(graph: &Graph, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for target in graph.get(&node).into_iter().flatten() {
            if reached.insert(*target) {
                next.push(*target);
            }
        }
    }
    reached
}

fn shortest_circle(graph: &Graph) -> Option<Vec<usize>> {
    graph.keys().filter_map(|node| shortest_circle_through(graph, *node)).min_by_key(Vec::len)
}

/// The shortest circle through this node, found breadth first.
fn shortest_circle_through(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for target in graph.get(&node).into_iter().flatten() {
            if *target == start {
                let back = std::iter::successors(Some(node), |node| came_from.get(node).copied());
                let mut circle: Vec<usize> = back.collect();
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(target) {
                came_from.insert(*target, node);
                queue.push_back(*target);
            }
        }
    }
    None
}
