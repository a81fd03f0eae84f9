//! Ids seen lately, as many as fit.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The last `room` ids, each with what is to be known of it.
#[derive(Debug)]
pub struct Remembered<T, V = ()> {
    ids: HashMap<T, V>,
    order: VecDeque<T>,
    room: usize,
}

impl<T: Copy + Eq + Hash, V: Copy> Remembered<T, V> {
    /// Remembers so many.
    pub fn new(room: usize) -> Self {
        Self { ids: HashMap::new(), order: VecDeque::new(), room: room.max(1) }
    }

    /// What is known of one, if it was seen.
    pub fn get(&self, id: T) -> Option<V> {
        self.ids.get(&id).copied()
    }

    /// Takes note of one, or of something newer about it; `false` where it was seen before.
    pub fn add(&mut self, id: T, value: V) -> bool {
        if self.ids.insert(id, value).is_some() {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > self.room
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut seen = Remembered::new(2);
        assert!(seen.add(1, 'a') && seen.add(2, 'b') && !seen.add(1, 'c'));
        assert_eq!(seen.get(1), Some('c'));
        assert!(seen.add(3, 'd'));
        assert_eq!((seen.get(1), seen.get(2), seen.get(3)), (None, Some('b'), Some('d')));
    }
}
