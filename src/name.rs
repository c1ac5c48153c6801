//! How a key is shown to people: its parts joined, cut if long.

use crate::encoding::{client_can_show, clip};
use crate::key::SEPARATOR;
use crate::settings;
use crate::text_array::TextArray;

/// The longest name that is shown whole, in bytes.
pub const MAX_NAME: usize = 200;

/// What follows a name that was cut.
const CUT_MARK: &[u8] = b"...";

/// One key of a call, for display.
#[derive(Clone, Copy)]
pub struct NamedKey<'a> {
    /// The array that the key came in.
    pub array: TextArray<'a>,
    /// Where its parts begin there ([`TextArray::row_at`]).
    pub offset: usize,
    /// Its integer.
    pub key: i64,
}

impl NamedKey<'_> {
    /// `"order-42" (4321398832972926703)`, in the server's encoding; only the integer when
    /// `advisory_keys.show_keys` is off or the client's encoding lacks a character of the name: the
    /// client would get an error about that instead of the message.
    ///
    /// May look into the catalog, so it must not be called while a lock is waited for.
    pub fn describe(&self) -> Vec<u8> {
        let name = self.name();
        if !settings::show_keys() || !client_can_show(&name) {
            return self.key.to_string().into_bytes();
        }
        let mut text = vec![b'"'];
        text.extend(name);
        text.extend(format!("\" ({})", self.key).into_bytes());
        text
    }

    /// The parts joined, at most [`MAX_NAME`] bytes and the mark of the cut.
    fn name(&self) -> Vec<u8> {
        // A little more than is shown, so that a cut can be seen and falls between characters.
        const ENOUGH: usize = MAX_NAME + 8;
        let mut name = Vec::with_capacity(ENOUGH + CUT_MARK.len());
        for (i, part) in self.array.row_at(self.offset).enumerate() {
            if i > 0 {
                name.push(SEPARATOR);
            }
            name.extend(part.iter().take(ENOUGH - name.len().min(ENOUGH)));
            if name.len() > MAX_NAME {
                let shown = clip(&name, MAX_NAME).len();
                name.truncate(shown);
                name.extend(CUT_MARK);
                break;
            }
        }
        name
    }
}
