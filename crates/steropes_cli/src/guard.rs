//! Work that may panic, made to end in a message.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic on this thread is caught and reported by [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; a panic in it, which is how cases and benches say that an op refused valid arguments, becomes its message.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(false);
    outcome.map_err(|payload| message(payload.as_ref()))
}

/// The text of a panic in one line.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_line() {
        assert_eq!(guarded(|| 3), Ok(3));
        let refused: Result<(), String> = Err("no GPU kernel".to_owned());
        let caught = guarded(|| refused.clone().expect("valid"));
        assert_eq!(caught, Err("valid: \"no GPU kernel\"".to_owned()));
    }
}
