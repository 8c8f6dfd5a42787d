//! Locks whose state is whole at any time: a panic under one is no reason not to go on with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it, whoever panicked under it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
