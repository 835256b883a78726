//! Places for things that come and go, with handles that tell when a place was used again.

/// Things in numbered places; a place that is free is used again with its next generation.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Place<T> {
    generation: u32,
    is_used: bool,
    thing: T,
}

// === impl Slab ===

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// Puts a thing into a place and returns the place.
    #[inline]
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.thing = thing;
            place.is_used = true;
            return index;
        }
        self.places.push(Place { generation: 0, is_used: true, thing });
        (self.places.len() - 1) as u32
    }

    /// Frees a place.
    #[inline]
    pub(super) fn remove(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        place.is_used = false;
        self.free.push(index);
    }

    /// Returns how often the place was freed.
    #[inline]
    pub(super) fn generation(&self, index: u32) -> u32 {
        self.places[index as usize].generation
    }

    /// Says whether the place still holds what it did.
    #[inline]
    pub(super) fn holds(&self, index: u32, generation: u32) -> bool {
        self.places.get(index as usize).is_some_and(|place| place.generation == generation)
    }

    /// Returns how many places are used.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns the used places, in order.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &T)> {
        let used = self.places.iter().enumerate().filter(|(_, place)| place.is_used);
        used.map(|(index, place)| (index as u32, &place.thing))
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.places[index as usize].thing
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.places[index as usize].thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_places_again_and_tells() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        let generation = slab.generation(a);
        slab.remove(a);
        assert!(!slab.holds(a, generation) && slab.holds(b, 0));
        assert_eq!(slab.insert('c'), a);
        assert_eq!((slab[a], slab.len()), ('c', 2));
        assert_eq!(slab.used().map(|(_, thing)| *thing).collect::<String>(), "cb");
    }
}
