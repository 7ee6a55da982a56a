//! What many say alike stands once: a hundred thousand workloads have few policies.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The different values that were seen.
pub(crate) struct Shared<T>(HashSet<Arc<T>>);

impl<T: Eq + Hash> Shared<T> {
    /// Makes `value` the very one that was seen before, where an equal one was.
    pub(crate) fn share(&mut self, value: &mut Arc<T>) {
        match self.0.get(value) {
            Some(known) => *value = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(value));
            }
        }
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one_and_different_ones_stay() {
        let mut shared = Shared::default();
        let mut values = [Arc::new("a".to_owned()), Arc::new("b".into()), Arc::new("a".into())];
        values.iter_mut().for_each(|value| shared.share(value));
        assert!(Arc::ptr_eq(&values[0], &values[2]));
        assert_eq!(*values[1], "b");
    }
}
