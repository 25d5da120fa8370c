//! Reads bytes as a list of choices, from which a target makes a sequence of events. A small change of the bytes
//! changes the sequence a little.

/// The bytes that were not read yet. Past their end every choice is the first one.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    /// Whether all bytes were read.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; 0 past the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u8, last: u8) -> u64 {
        (first + self.below(last - first + 1)).into()
    }

    /// True or false.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of the elements of this slice, which must not be empty.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// The next `len` bytes, or fewer if there are not so many.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
