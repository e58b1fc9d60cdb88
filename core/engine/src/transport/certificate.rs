//! The names in an X.509 certificate: just enough DER to read the subject's common name and the alternative names.
//!
//! The certificate has been verified by rustls before it comes here; this only reads it. Anything unexpected gives no
//! name rather than an error.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What [`names`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// URI, DNS, e-mail and IP alternative names, in the certificate's order.
    pub alternative: Vec<String>,
    /// The subject's (last) common name.
    pub common: Option<String>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Takes one tag-length-value off the front.
fn take<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = after;
    }
    let (value, after) = rest.split_at_checked(length)?;
    *der = after;
    Some((tag, value))
}

fn expect<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(der).filter(|(t, _)| *t == tag).map(|(_, value)| value)
}

/// Reads a certificate's names (RFC 5280, 4.1 and 4.2.1.6).
pub(super) fn names(certificate: &[u8]) -> Names {
    read(certificate).unwrap_or_default()
}

fn read(mut der: &[u8]) -> Option<Names> {
    let mut names = Names::default();
    let mut certificate = expect(&mut der, SEQUENCE)?;
    let mut tbs = expect(&mut certificate, SEQUENCE)?;
    if tbs.first() == Some(&0xa0) {
        take(&mut tbs)?; // version
    }
    take(&mut tbs)?; // serial number
    take(&mut tbs)?; // signature algorithm
    take(&mut tbs)?; // issuer
    take(&mut tbs)?; // validity
    let mut subject = expect(&mut tbs, SEQUENCE)?;
    while let Some((SET, mut set)) = take(&mut subject) {
        let Some(mut attribute) = expect(&mut set, SEQUENCE) else { continue };
        if expect(&mut attribute, OBJECT_IDENTIFIER) == Some(COMMON_NAME)
            && let Some((_, value)) = take(&mut attribute)
        {
            names.common = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    take(&mut tbs)?; // public key
    while let Some((tag, mut explicit)) = take(&mut tbs) {
        if tag != 0xa3 {
            continue; // unique identifiers
        }
        let mut extensions = expect(&mut explicit, SEQUENCE)?;
        while let Some((SEQUENCE, mut extension)) = take(&mut extensions) {
            if expect(&mut extension, OBJECT_IDENTIFIER) != Some(SUBJECT_ALT_NAME) {
                continue;
            }
            let value = loop {
                match take(&mut extension)? {
                    (OCTET_STRING, value) => break value,
                    _ => continue, // the critical flag
                }
            };
            names.alternative = alternative(value).unwrap_or_default();
        }
    }
    Some(names)
}

fn alternative(mut value: &[u8]) -> Option<Vec<String>> {
    let mut list = expect(&mut value, SEQUENCE)?;
    let mut names = Vec::new();
    while let Some((tag, name)) = take(&mut list) {
        match tag {
            // rfc822Name, dNSName, uniformResourceIdentifier
            0x81 | 0x82 | 0x86 => names.push(String::from_utf8_lossy(name).into_owned()),
            0x87 => {
                if let Ok(v4) = <[u8; 4]>::try_from(name) {
                    names.push(Ipv4Addr::from(v4).to_string());
                } else if let Ok(v6) = <[u8; 16]>::try_from(name) {
                    names.push(Ipv6Addr::from(v6).to_string());
                }
            }
            _ => {}
        }
    }
    Some(names)
}
