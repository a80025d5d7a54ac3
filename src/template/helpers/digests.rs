//! Helpers that give digests.

use handlebars::{Handlebars, Helper};

use super::{Found, derived, helper, text, wrong_value};
use crate::functions::digest::{self, Encoding};
use crate::template::RenderFault;

/// The names of all encodings.
pub(in crate::template) const ENCODINGS: &str = "\"hex\" or \"base64\"";

/// Registers them.
pub(super) fn register(registry: &mut Handlebars<'static>) {
    registry.register_helper("sha256", helper(|call, _| sha256(call)));
    registry.register_helper("hmac_sha256", helper(|call, _| hmac_sha256(call)));
}

fn sha256<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    Ok(derived(digest::sha256(&text(call, 0)?, encoding(call)?)))
}

fn hmac_sha256<'rc>(call: &Helper<'rc>) -> Found<'rc> {
    Ok(derived(digest::hmac_sha256(&text(call, 0)?, &text(call, 1)?, encoding(call)?)))
}

fn encoding(call: &Helper<'_>) -> Result<Encoding, RenderFault> {
    let Some(given) = call.hash_get("encoding") else { return Ok(Encoding::default()) };
    let encoding = given.value().as_str().and_then(Encoding::of_name);
    encoding.ok_or_else(|| wrong_value(call, given, "\"hex\" or \"base64\" as `encoding`"))
}
