//! Editions features: which of protobuf's historic behaviours a file, type or field asks for.
//!
//! proto2 and proto3 are two fixed sets of the same features, so everything after this module is written for editions.
//! Spec: protobuf.dev "Feature Settings for Editions"; descriptor.proto, `FeatureSet`.

use crate::wire::{RawValue, Reader};

/// The language a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Syntax {
    /// `syntax = "proto2"`, or none given.
    Proto2,
    /// `syntax = "proto3"`.
    Proto3,
    /// `edition = ...`: the number of descriptor.proto, 1000 for 2023, 1001 for 2024.
    Edition(u32),
}

/// Features after inheritance, as one element of a schema sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    pub presence: Presence,
    pub open_enum: bool,
    pub packed: bool,
    pub check_utf8: bool,
    pub delimited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Explicit,
    Implicit,
    Required,
}

impl Features {
    /// What a file starts with.
    pub fn of(syntax: Syntax) -> Features {
        let modern = Features {
            presence: Presence::Explicit,
            open_enum: true,
            packed: true,
            check_utf8: true,
            delimited: false,
        };
        match syntax {
            Syntax::Proto2 => {
                Features { open_enum: false, packed: false, check_utf8: false, ..modern }
            }
            Syntax::Proto3 => Features { presence: Presence::Implicit, ..modern },
            Syntax::Edition(_) => modern,
        }
    }

    /// These features with the settings of one `FeatureSet` on top. Unknown settings are left alone.
    pub fn with(mut self, set: &[u8]) -> Features {
        let mut reader = Reader::new(set);
        while let Ok(Some((number, value))) = reader.next_field(16) {
            let RawValue::Varint(value) = value else { continue };
            match (number, value) {
                (1, 1) => self.presence = Presence::Explicit,
                (1, 2) => self.presence = Presence::Implicit,
                (1, 3) => self.presence = Presence::Required,
                (2, 1 | 2) => self.open_enum = value == 1,
                (3, 1 | 2) => self.packed = value == 1,
                (4, 2 | 3) => self.check_utf8 = value == 2,
                (5, 1 | 2) => self.delimited = value == 2,
                _ => {}
            }
        }
        self
    }

    /// These features with those found in an options message, where `number` is the field that holds a `FeatureSet`.
    pub fn with_options(self, options: &[u8], number: u32) -> Features {
        let mut features = self;
        let mut reader = Reader::new(options);
        while let Ok(Some((n, value))) = reader.next_field(16) {
            if let (true, RawValue::Length(set)) = (n == number, value) {
                features = features.with(set);
            }
        }
        features
    }
}

/// A varint of an options message, the last one if it is there more than once.
pub(crate) fn option_varint(options: &[u8], number: u32) -> Option<u64> {
    let mut found = None;
    let mut reader = Reader::new(options);
    while let Ok(Some((n, value))) = reader.next_field(16) {
        if let (true, RawValue::Varint(v)) = (n == number, value) {
            found = Some(v);
        }
    }
    found
}
