//! A key with its name, which is for people: in messages and in the record its parts stand joined, cut if long.

use crate::backend::{current_database, current_user};
use crate::keys::encoding::{CUT_MARK, client_can_show, cut};
use crate::keys::key::SEPARATOR;
use crate::keys::text_array::TextArray;
use crate::report::Report;
use crate::settings;
use crate::shared::memory::name_record;
use crate::shared::name_record::{MAX_TEXT, Noticed, Subject, split_of};
use pgrx::PgSqlErrorCode;
use smallvec::SmallVec;

/// The longest name that is shown whole, in bytes.
pub const MAX_NAME: usize = 200;

const _: () = assert!(MAX_NAME + CUT_MARK.len() <= MAX_TEXT);

/// One key of a call, and where its name is.
#[derive(Clone, Copy)]
pub struct NamedKey<'a> {
    /// The array that the key came in.
    pub array: TextArray<'a>,
    /// Where its parts begin there ([`TextArray::row_at`]).
    pub offset: usize,
    /// The integer.
    pub key: i64,
}

impl NamedKey<'_> {
    /// `"order-42" (4321398832972926703)`, in the server's encoding; only the integer when
    /// `advisory_keys.show_keys` is off or the client's encoding lacks a character of the name: the
    /// client would get an error about that instead of the message.
    ///
    /// May look into the catalog, so it must not be called while a lock is waited for.
    pub fn describe(&self) -> Vec<u8> {
        let shown = settings::show_keys().then(|| self.name()).filter(|name| client_can_show(name));
        let Some(name) = shown else {
            return self.key.to_string().into_bytes();
        };
        let mut text = vec![b'"'];
        text.extend(name);
        text.extend(format!("\" ({})", self.key).into_bytes());
        text
    }

    /// Records the name for `advisory_locks`, unless `advisory_keys.track_names` is off. Neither
    /// fails nor waits.
    #[inline]
    pub fn record(&self) {
        if !settings::track_names() {
            return;
        }
        let Some(record) = name_record() else { return };
        let subject = Subject { database: current_database(), key: self.key };
        let split = split_of(self.array.row_at(self.offset).map(<[u8]>::len));
        let noticed = record.write(subject, split, current_user(), || self.name());
        if noticed == Noticed::OtherParts {
            self.log_other_parts();
        }
    }

    /// The first part, in the server's encoding.
    #[inline]
    pub fn first_part(&self) -> &[u8] {
        self.array.row_at(self.offset).next().unwrap_or_default()
    }

    #[cold]
    fn log_other_parts(&self) {
        let mut detail = b"Key ".to_vec();
        detail.extend(self.describe());
        detail.extend(b" was locked before with its text split into other parts.");
        Report::new(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            "one advisory key is used for two different names",
        )
        .detail(detail)
        .hint("Parts are joined with \"-\": put the fixed part first and keep \"-\" out of it.")
        .log();
    }

    /// The parts joined, at most [`MAX_NAME`] bytes and the mark of the cut.
    fn name(&self) -> SmallVec<[u8; 256]> {
        // A little more than is shown, so that a cut can be seen and falls between characters.
        const ENOUGH: usize = MAX_NAME + 8;
        let mut name = SmallVec::new();
        for (i, part) in self.array.row_at(self.offset).enumerate() {
            if i > 0 {
                name.push(SEPARATOR);
            }
            name.extend_from_slice(&part[..part.len().min(ENOUGH - name.len().min(ENOUGH))]);
            if name.len() > MAX_NAME {
                cut(&mut name, MAX_NAME);
                break;
            }
        }
        name
    }
}
