//! A part of a world with its hash: what did not change is neither copied nor hashed again.

use hotline_contact::Contact;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A value that is shared between worlds.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    value: Arc<T>,
    pub(super) hash: u128,
}

impl<T> Held<T> {
    /// Holds a value that this text tells from all others.
    pub(super) fn new(value: T, text: &str) -> Self {
        Self { value: Arc::new(value), hash: hash(&text) }
    }
}

impl<T: serde::Serialize> Held<T> {
    /// Holds a state.
    pub(super) fn state(value: T) -> Self {
        let text = serde_json::to_string(&value).unwrap_or_default();
        Self::new(value, &text)
    }
}

impl Held<Contact> {
    /// Holds a contact. What only counts, and what only facts tell, makes no difference to what can
    /// happen: contacts that differ in nothing else are one.
    pub(super) fn contact(value: Contact) -> Self {
        let mut plain = value.clone();
        (plain.seq, plain.commands, plain.hooks) = (0, 0, 0);
        (plain.interaction_count, plain.transfers) = (0, 0);
        plain.interactions.clear();
        plain.script.number = 0;
        plain.script.label.clear();
        plain.script.answers = None;
        let text = serde_json::to_string(&plain).unwrap_or_default();
        Self::new(value, &text)
    }
}

impl<T: Clone> Held<T> {
    /// The value.
    pub(super) fn take(self) -> T {
        Arc::unwrap_or_clone(self.value)
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// 128 bits: with a million states two of them meet once in 10^26 explorations.
pub(super) fn hash(of: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        of.hash(&mut hasher);
        hasher.finish()
    };
    (u128::from(half(1)) << 64) | u128::from(half(2))
}
