//! A vector that grows by chunks.
//!
//! A plain vector doubles its room when it is full and copies all that it holds: a million elements keep a server busy for
//! tens of milliseconds, and up to half of the room is empty. Here only the first chunk grows that way. After that one
//! chunk comes after the other, nothing that is there moves, and no more than a chunk is empty.

/// The number of elements in a chunk, a power of two. In tests it is small, so that they cross it all the time.
pub const CHUNK: usize = if cfg!(any(test, fuzzing)) { 4 } else { 2048 };

/// Adds an element to a chunk that has room for it. The only chunk starts small; others get all their room at once.
pub fn push<T>(chunk: &mut Vec<T>, is_only: bool, element: T) {
    if chunk.capacity() == 0 && !is_only {
        chunk.reserve_exact(CHUNK);
    }
    chunk.push(element);
}

/// A vector that is kept in chunks.
#[derive(Debug)]
pub struct Chunks<T> {
    /// The elements of most vectors are all here.
    first: Vec<T>,
    /// Further chunks. All are full but for the last one that is not empty; after it there may be an empty one.
    rest: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunks<T> {
    /// An empty vector.
    pub const fn new() -> Chunks<T> {
        Chunks { first: Vec::new(), rest: Vec::new(), len: 0 }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The element at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(CHUNK) {
            None => self.first.get(index),
            Some(index) => self.rest.get(index / CHUNK)?.get(index % CHUNK),
        }
    }

    /// The element at `index`, to change it.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(CHUNK) {
            None => self.first.get_mut(index),
            Some(index) => self.rest.get_mut(index / CHUNK)?.get_mut(index % CHUNK),
        }
    }

    /// Adds an element at the end.
    #[inline]
    pub fn push(&mut self, element: T) {
        match self.len.checked_sub(CHUNK) {
            None => self.first.push(element),
            Some(index) => self.push_after_first(index / CHUNK, element),
        }
        self.len += 1;
    }

    #[cold]
    fn push_after_first(&mut self, number: usize, element: T) {
        if number == self.rest.len() {
            self.rest.push(Vec::new());
        }
        if let Some(chunk) = self.rest.get_mut(number) {
            push(chunk, false, element);
        }
    }

    /// Takes the last element out. The room of a chunk is given back when the chunk before it becomes empty too, so an element
    /// that comes and goes at the border of two chunks costs no allocation.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        match self.len.checked_sub(CHUNK) {
            Some(index) => self.pop_after_first(index),
            None => {
                if self.len == 0 {
                    self.rest.truncate(0);
                }
                self.first.pop()
            }
        }
    }

    #[cold]
    fn pop_after_first(&mut self, index: usize) -> Option<T> {
        let element = self.rest.get_mut(index / CHUNK)?.pop();
        if index.is_multiple_of(CHUNK) {
            self.rest.truncate(index / CHUNK + 1);
        }
        element
    }

    /// Keeps the elements for which `keep` says true, in their order; goes through all.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool)
    where
        T: Copy,
    {
        let mut kept = 0;
        for index in 0..self.len {
            let Some(element) = self.get(index).copied() else { break };
            if keep(&element) {
                if let Some(place) = self.get_mut(kept) {
                    *place = element;
                }
                kept += 1;
            }
        }
        while self.len > kept {
            self.pop();
        }
    }
}

#[cfg(test)]
impl<T> Chunks<T> {
    /// For how many elements there is room.
    pub fn capacity(&self) -> usize {
        self.first.capacity() + self.rest.iter().map(Vec::capacity).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Pop,
        Set(prop::sample::Index, u32),
        RetainEven,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<u32>().prop_map(Step::Push),
            4 => Just(Step::Pop),
            2 => (any::<prop::sample::Index>(), any::<u32>()).prop_map(|(which, element)| Step::Set(which, element)),
            1 => Just(Step::RetainEven),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_vector(steps in prop::collection::vec(step(), 1..200)) {
            let mut chunks = Chunks::new();
            let mut model = Vec::new();
            for step in steps {
                match step {
                    Step::Push(element) => {
                        chunks.push(element);
                        model.push(element);
                    }
                    Step::Pop => prop_assert_eq!(chunks.pop(), model.pop()),
                    Step::Set(which, element) => {
                        let index = which.index(model.len() + 1);
                        let place = chunks.get_mut(index).map(|place| *place = element);
                        prop_assert_eq!(place, model.get_mut(index).map(|place| *place = element));
                    }
                    Step::RetainEven => {
                        chunks.retain(|element| element % 2 == 0);
                        model.retain(|element| element % 2 == 0);
                    }
                }
                prop_assert_eq!(chunks.len(), model.len());
                let there: Vec<u32> = (0..=chunks.len()).map_while(|index| chunks.get(index).copied()).collect();
                prop_assert_eq!(&there, &model);
                prop_assert!(chunks.capacity() < model.len() + 2 * CHUNK, "at most a chunk and an unused one are empty");
            }
        }
    }

    #[test]
    fn an_element_that_comes_and_goes_at_a_border_costs_no_allocation() {
        let mut chunks = Chunks::new();
        (0..2 * CHUNK).for_each(|element| chunks.push(element));
        chunks.push(7);
        let room = chunks.capacity();
        for _ in 0..3 {
            assert_eq!(chunks.pop(), Some(7));
            assert_eq!(chunks.capacity(), room);
            chunks.push(7);
        }
    }
}
