//! A layered layout: what follows stands below, with few crossings and straight long lines.
//!
//! After K. Sugiyama: layers by longest path, dummies where a line passes a layer, order by
//! barycentres with the best of several sweeps kept, and positions by least squares that keep
//! the order and the distances.

use std::collections::BTreeMap;

/// Distance between neighbours of one layer.
const GAP_X: f64 = 26.0;
/// Distance between the lines that pass a layer.
const GAP_DUMMY: f64 = 14.0;

/// A box to be placed.
pub(super) struct Item {
    pub width: f64,
    pub height: f64,
}

/// A line from one box to a box below it.
#[derive(Clone)]
pub(super) struct Link {
    pub from: usize,
    pub to: usize,
    /// The width of its label; 0: none.
    pub label: f64,
    /// The height of its label.
    pub label_height: f64,
}

/// Where everything is.
pub(super) struct Placed {
    /// The centre of each item.
    pub x: Vec<f64>,
    /// The top of each item.
    pub y: Vec<f64>,
    /// For each link: the points it runs through, from the bottom of one box to the top of another.
    pub lines: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

struct Cell {
    /// The item, or none for a passing line.
    item: Option<usize>,
    width: f64,
    up: Vec<usize>,
    down: Vec<usize>,
    x: f64,
}

/// Places items joined by `links`, which must hold no circle.
pub(super) fn place(items: &[Item], links: &[Link]) -> Placed {
    let layer_of = layers(items.len(), links);
    let depth = layer_of.iter().max().map_or(0, |l| l + 1);
    let mut cells: Vec<Cell> = items
        .iter()
        .enumerate()
        .map(|(i, item)| Cell { item: Some(i), width: item.width, up: Vec::new(), down: Vec::new(), x: 0.0 })
        .collect();
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
    for (i, layer) in layer_of.iter().enumerate() {
        rows[*layer].push(i);
    }
    let mut chains: Vec<Vec<usize>> = Vec::new();
    for link in links {
        let mut chain = vec![link.from];
        for row in rows.iter_mut().take(layer_of[link.to]).skip(layer_of[link.from] + 1) {
            let dummy = cells.len();
            cells.push(Cell { item: None, width: 2.0, up: Vec::new(), down: Vec::new(), x: 0.0 });
            row.push(dummy);
            chain.push(dummy);
        }
        chain.push(link.to);
        for pair in chain.windows(2) {
            if let [a, b] = *pair {
                cells[a].down.push(b);
                cells[b].up.push(a);
            }
        }
        chains.push(chain);
    }
    order(&mut rows, &cells);
    position(&rows, &mut cells);
    finish(items, links, &rows, &cells, &chains)
}

/// The length of the longest way to each item.
fn layers(count: usize, links: &[Link]) -> Vec<usize> {
    let mut layer = vec![0; count];
    // As many rounds as the longest way is long; there are no circles.
    for _ in 0..count {
        let mut moved = false;
        for link in links {
            let least = layer[link.from] + 1;
            if layer[link.to] < least {
                layer[link.to] = least;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    layer
}

fn index(row: &[usize], size: usize) -> Vec<usize> {
    let mut index = vec![usize::MAX; size];
    for (i, cell) in row.iter().enumerate() {
        index[*cell] = i;
    }
    index
}

fn crossings(rows: &[Vec<usize>], cells: &[Cell]) -> usize {
    let mut total = 0;
    for pair in rows.windows(2) {
        let [above, below] = pair else { continue };
        let at = index(below, cells.len());
        let ends: Vec<usize> = above
            .iter()
            .flat_map(|c| {
                let mut to: Vec<usize> = cells[*c].down.iter().map(|d| at[*d]).collect();
                to.sort_unstable();
                to
            })
            .collect();
        total += inversions(ends).1;
    }
    total
}

/// Sorts, and counts the pairs that stood the wrong way round.
fn inversions(ends: Vec<usize>) -> (Vec<usize>, usize) {
    if ends.len() < 2 {
        return (ends, 0);
    }
    let (left, right) = ends.split_at(ends.len() / 2);
    let ((left, a), (right, b)) = (inversions(left.to_vec()), inversions(right.to_vec()));
    let mut count = a + b;
    let mut sorted = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(x), Some(y)) = (l.peek(), r.peek()) {
        if x <= y {
            sorted.extend(l.next());
        } else {
            count += l.len();
            sorted.extend(r.next());
        }
    }
    sorted.extend(l);
    sorted.extend(r);
    (sorted, count)
}

/// Orders each row so that lines cross little.
fn order(rows: &mut Vec<Vec<usize>>, cells: &[Cell]) {
    let mut best = rows.clone();
    let mut least = crossings(rows, cells);
    // Big drawings get fewer sweeps: counting crossings is what costs.
    let sweeps = if cells.len() > 1_500 { 4 } else { 24 };
    for sweep in 0..sweeps {
        let down = sweep % 2 == 0;
        let mut sequence: Vec<usize> = (0..rows.len()).collect();
        if !down {
            sequence.reverse();
        }
        for pair in sequence.windows(2) {
            let [fixed, free] = *pair else { continue };
            let at = index(&rows[fixed], cells.len());
            let mut keyed: Vec<(f64, usize)> = rows[free]
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    let near = if down { &cells[*c].up } else { &cells[*c].down };
                    let seen: Vec<usize> = near.iter().map(|n| at[*n]).filter(|p| *p != usize::MAX).collect();
                    let centre = match seen.len() {
                        0 => i as f64,
                        n => seen.iter().sum::<usize>() as f64 / n as f64,
                    };
                    (centre, *c)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[free] = keyed.into_iter().map(|(_, c)| c).collect();
        }
        let now = crossings(rows, cells);
        if now < least {
            least = now;
            best = rows.clone();
        }
        if least == 0 {
            break;
        }
    }
    *rows = best;
    swap_neighbours(rows, cells, least);
}

/// Swaps neighbours as long as that removes crossings.
fn swap_neighbours(rows: &mut [Vec<usize>], cells: &[Cell], mut least: usize) {
    if cells.len() > 400 {
        return;
    }
    for _ in 0..8 {
        let mut better = false;
        for row in 0..rows.len() {
            for i in 1..rows[row].len() {
                rows[row].swap(i - 1, i);
                let now = crossings(rows, cells);
                if now < least {
                    least = now;
                    better = true;
                } else {
                    rows[row].swap(i - 1, i);
                }
            }
        }
        if !better {
            break;
        }
    }
}

fn gap(a: &Cell, b: &Cell) -> f64 {
    let between = if a.item.is_some() && b.item.is_some() { GAP_X } else { GAP_DUMMY };
    (a.width + b.width) / 2.0 + between
}

/// Moves every cell towards its neighbours above and below, keeping order and distances.
fn position(rows: &[Vec<usize>], cells: &mut [Cell]) {
    for row in rows {
        let mut x = 0.0;
        for (i, c) in row.iter().enumerate() {
            if i > 0 {
                x += gap(&cells[row[i - 1]], &cells[*c]);
            }
            cells[*c].x = x;
        }
        let middle = x / 2.0;
        for c in row {
            cells[*c].x -= middle;
        }
    }
    for round in 0..160 {
        let upwards = round % 2 == 1;
        let sequence: Vec<&Vec<usize>> = if upwards { rows.iter().rev().collect() } else { rows.iter().collect() };
        for row in sequence {
            let wanted: Vec<(f64, f64)> = row
                .iter()
                .map(|c| {
                    let cell = &cells[*c];
                    // Near the end both sides count, so that the drawing comes to rest.
                    let (up, down) = (round >= 40 || !upwards, round >= 40 || upwards);
                    let near: Vec<(f64, f64)> = (cell.up.iter().filter(|_| up).map(|n| (*n, *c)))
                        .chain(cell.down.iter().filter(|_| down).map(|n| (*c, *n)))
                        .map(|(a, b)| (cells[if a == *c { b } else { a }].x, pull(&cells[a], &cells[b])))
                        .collect();
                    let weight: f64 = near.iter().map(|(_, w)| w).sum();
                    if near.is_empty() {
                        return (cell.x, 0.2);
                    }
                    (near.iter().map(|(x, w)| x * w).sum::<f64>() / weight, weight)
                })
                .collect();
            settle(row, &wanted, cells);
        }
    }
}

/// How strongly a line pulls its ends above one another.
fn pull(above: &Cell, below: &Cell) -> f64 {
    match (above.item, below.item) {
        (None, None) => 8.0,
        (None, _) | (_, None) => 3.0,
        _ if above.down.len() == 1 && below.up.len() == 1 => 6.0,
        _ => 1.0,
    }
}

/// The positions nearest to `wanted` (with weights) that keep order and distances: monotone
/// regression by pooling neighbours that violate it.
fn settle(row: &[usize], wanted: &[(f64, f64)], cells: &mut [Cell]) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(row.len());
    // Each pool: weighted sum, weight, how many cells.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (i, (want, weight)) in wanted.iter().enumerate() {
        if i > 0 {
            offset += gap(&cells[row[i - 1]], &cells[row[i]]);
        }
        offsets.push(offset);
        pools.push(((want - offset) * weight, *weight, 1));
        while let [.., a, b] = pools.as_slice() {
            if a.0 / a.1 <= b.0 / b.1 {
                break;
            }
            let joined = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
            pools.truncate(pools.len() - 2);
            pools.push(joined);
        }
    }
    let mut i = 0;
    for (sum, weight, count) in pools {
        for _ in 0..count {
            cells[row[i]].x = sum / weight + offsets[i];
            i += 1;
        }
    }
}

fn finish(items: &[Item], links: &[Link], rows: &[Vec<usize>], cells: &[Cell], chains: &[Vec<usize>]) -> Placed {
    let left = cells.iter().map(|c| c.x - c.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = cells.iter().map(|c| c.x + c.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let x: Vec<f64> = cells.iter().map(|c| c.x - left).collect();
    let mut top = vec![0.0; cells.len()];
    let mut bottom = vec![0.0; cells.len()];
    let mut y = 0.0;
    for row in rows {
        let height = row.iter().filter_map(|c| cells[*c].item).map(|i| items[i].height).fold(0.0, f64::max);
        for c in row {
            top[*c] = y;
            bottom[*c] = y + cells[*c].item.map_or(height, |i| items[i].height);
        }
        // Labels stand in the space below the row: the more of them, the more space.
        let labels = chains
            .iter()
            .zip(links)
            .filter(|(chain, link)| link.label > 0.0 && chain.first().is_some_and(|c| row.contains(c)))
            .map(|(_, link)| link.label)
            .sum::<f64>();
        let tallest = chains
            .iter()
            .zip(links)
            .filter(|(chain, _)| chain.first().is_some_and(|c| row.contains(c)))
            .map(|(_, link)| link.label_height)
            .fold(0.0, f64::max);
        y += height + (42.0 + tallest / 2.0 + labels / 24.0).min(140.0);
    }
    let (leave, arrive) = (ports(chains, cells, true), ports(chains, cells, false));
    let lines = chains
        .iter()
        .enumerate()
        .map(|(i, chain)| {
            let mut points = Vec::new();
            let last = chain.len() - 1;
            for (k, c) in chain.iter().enumerate() {
                if k == 0 {
                    points.push((x[*c] + leave[i], bottom[*c]));
                } else if k == last {
                    points.push((x[*c] + arrive[i], top[*c]));
                } else {
                    points.push((x[*c], top[*c]));
                    points.push((x[*c], bottom[*c]));
                }
            }
            points
        })
        .collect();
    let height = rows.last().map_or(0.0, |row| row.iter().map(|c| bottom[*c]).fold(0.0, f64::max));
    let shown = items.len();
    Placed { x: x[..shown].to_vec(), y: top[..shown].to_vec(), lines, width: right - left, height }
}

/// Where on their boxes lines begin (or end), from the centre: lines of one box stand side by
/// side in the order of where they lead.
fn ports(chains: &[Vec<usize>], cells: &[Cell], below: bool) -> Vec<f64> {
    let mut mates: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
    for (i, chain) in chains.iter().enumerate() {
        let n = chain.len();
        let (own, other) = if below { (chain[0], chain[1]) } else { (chain[n - 1], chain[n - 2]) };
        mates.entry(own).or_default().push((cells[other].x, i));
    }
    let mut ports = vec![0.0; chains.len()];
    for (own, mut mates) in mates {
        mates.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let step = (cells[own].width * 0.7 / mates.len() as f64).min(34.0);
        let middle = (mates.len() - 1) as f64 / 2.0;
        for (place, (_, line)) in mates.into_iter().enumerate() {
            ports[line] = (place as f64 - middle) * step;
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link { from, to, label: 0.0, label_height: 0.0 }
    }

    #[test]
    fn what_follows_stands_below_and_nothing_overlaps() {
        let items: Vec<Item> = (0..6).map(|i| Item { width: 60.0 + 10.0 * f64::from(i), height: 40.0 }).collect();
        let links = [link(0, 1), link(0, 2), link(0, 3), link(1, 4), link(2, 4), link(3, 4), link(0, 5), link(4, 5)];
        let placed = place(&items, &links);
        for link in &links {
            assert!(placed.y[link.from] + items[link.from].height < placed.y[link.to]);
        }
        for a in 0..items.len() {
            for b in 0..a {
                let apart = (placed.x[a] - placed.x[b]).abs() - (items[a].width + items[b].width) / 2.0;
                assert!(placed.y[a] != placed.y[b] || apart > 0.0, "{a} and {b} overlap");
            }
        }
    }

    #[test]
    fn crossings_that_can_be_avoided_are() {
        let items: Vec<Item> = (0..6).map(|_| Item { width: 50.0, height: 40.0 }).collect();
        let links = [link(0, 5), link(1, 4), link(2, 3)];
        let placed = place(&items, &links);
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let above = placed.x[links[a].from] < placed.x[links[b].from];
            let below = placed.x[links[a].to] < placed.x[links[b].to];
            assert_eq!(above, below);
        }
    }
}
