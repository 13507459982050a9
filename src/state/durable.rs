//! `Durable<T>`: proof that a value is on disk.
//!
//! Only `state` can make one: from the writer's acknowledgement of a synced commit, or from a row
//! read back. A request that must not be sent before something is durable asks for one, so that
//! breaking a write-ahead rule does not compile.

use std::ops::Deref;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(in crate::state) fn committed(value: T) -> Durable<T> {
        Durable(value)
    }

    #[cfg(test)]
    pub fn for_test(value: T) -> Durable<T> {
        Durable(value)
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Row id in `uploads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub i64);

/// "A request of this upload is about to be sent of which nobody can ask afterwards what became of it": an
/// import, or an upload in one request. Durable before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unaskable {
    pub upload: UploadId,
}

/// "This upload is about to be started": what must be durable before the first request of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    pub upload: UploadId,
}
