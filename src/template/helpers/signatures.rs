//! What each helper takes and gives: for the checks at load, for advice, and for the reference.

/// What a helper takes, for the check at load.
pub(in crate::template) struct Signature {
    /// Its name in templates.
    pub(in crate::template) name: &'static str,
    /// The fewest and the most values it takes.
    pub(in crate::template) values: (usize, usize),
    /// The named values it takes.
    pub(in crate::template) named: &'static [&'static str],
    /// Where it may stand.
    pub(in crate::template) kind: Kind,
    /// How it is written.
    pub(in crate::template) example: &'static str,
    /// What it gives, what it takes for that, and what it refuses.
    pub(in crate::template) gives: &'static str,
}

/// Where a helper may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::template) enum Kind {
    /// `{{name …}}` and `(name …)`
    Value,
    /// `{{#name …}} … {{/name}}`
    Block,
    /// Both.
    ValueOrBlock,
}

use Kind::{Block, Value, ValueOrBlock};

const MANY: usize = usize::MAX;

/// All helpers. `if unless each with raw and or not` are Handlebars' own.
#[rustfmt::skip]
pub(in crate::template) const SIGNATURES: [Signature; 47] = [
    of("json", (1, 1), &[], Value, "{{json data.customer}}", "The value as JSON text. Any value."),
    of("default", (2, MANY), &[], Value, r#"{{default data.region "none"}}"#, "The first value that is neither missing nor null, otherwise the last one."),
    of("switch", (3, MANY), &[], Value, r#"{{switch data.type "paid" "yes" "open" "not yet" "unknown"}}"#, "The value behind the first of the cases that equals the first value (as `eq` compares), otherwise the last value, which stands without a case. Without one, an event that fits no case is an error."),
    of("upper", (1, 1), &[], Value, "{{upper data.name}}", "In upper case. Text, a number, `true` or `false`."),
    of("lower", (1, 1), &[], Value, "{{lower data.name}}", "In lower case. Text, a number, `true` or `false`."),
    of("trim", (1, 1), &[], Value, r#"{{trim "  a b "}}"#, "Without the blanks and line breaks at both ends. Text, a number, `true` or `false`."),
    of("truncate", (2, 2), &["end"], Value, r#"{{truncate data.name 5 end="…"}}"#, "The first characters, as many as the second value says. Text that is longer ends with `end`, which counts. Text, a number, `true` or `false`."),
    of("replace", (3, 3), &[], Value, r#"{{replace data.name " " "-"}}"#, "With the third text wherever the second one stood, which must not be empty. Text, a number, `true` or `false`."),
    of("split", (2, 2), &[], Value, r#"{{json (split data.name " ")}}"#, "An array of the texts between the second text, which must not be empty. Text, a number, `true` or `false`."),
    of("join", (1, 2), &[], Value, r#"{{join data.tags "; "}}"#, "The elements of an array with the second text between them (`, ` where it is left out). Each must be text, a number, `true` or `false`."),
    of("capture", (2, 3), &[], Value, r#"{{capture data.name "^(\\w+) (?<last>\\w+)" "last"}}"#, "What a regular expression finds: the group of that number or name, without a third value the first group, and all that was found where the expression has no group. Nothing found is an error. Text, a number, `true` or `false`; the expression is a literal, and a backslash in it is doubled."),
    of("base64", (1, 1), &[], Value, "{{base64 data.id}}", "In base64. Text, a number, `true` or `false`."),
    of("url_encode", (1, 1), &[], Value, "{{url_encode data.name}}", "Percent-encoded, for the path or the query of a URL in text that is none. In `url` and in forms, values are encoded by themselves. Text, a number, `true` or `false`."),
    of("xml", (1, 1), &[], Value, r#"{{xml "a < b"}}"#, "Escaped for XML, for XML in text that is none; in XML, values are escaped by themselves. Text without characters that XML cannot carry, a number, `true` or `false`."),
    of("sha256", (1, 1), &["encoding"], Value, "{{sha256 data.id}}", "The SHA-256 in hexadecimal digits, or `encoding=\"base64\"`. Text, a number, `true` or `false`."),
    of("hmac_sha256", (2, 2), &["encoding"], Value, r#"{{hmac_sha256 data.id "${env:KEY}"}}"#, "The HMAC-SHA256 keyed with the second text, in hexadecimal digits, or `encoding=\"base64\"`. Text, a number, `true` or `false`. `signing` in the sink signs whole requests."),
    of("add", (2, MANY), &[], Value, "{{add data.total data.shipping}}", "The sum, in decimal digits: `0.1` and `0.2` make `0.3`. Numbers, or text that is a number, of at most 28 digits."),
    of("sub", (2, 2), &[], Value, "{{sub data.total data.shipping}}", "The first number less the second. As `add`."),
    of("mul", (2, MANY), &[], Value, "{{mul data.total 1.19}}", "The product. As `add`."),
    of("div", (2, 2), &[], Value, "{{div data.cents 100}}", "The first number divided by the second, with at most 28 digits. As `add`; a division by 0 is an error."),
    of("round", (1, 2), &[], Value, "{{round data.total 1}}", "The number with as many digits behind the point as the second value says, none without it, halves away from zero. As `add`."),
    of("fixed", (2, 2), &[], Value, "{{fixed data.total 2}}", "Text with exactly as many digits behind the point as the second value says, rounded as `round` does. As `add`."),
    of("now", (0, 1), &["tz", "plus"], Value, r#"{{now "%Y-%m-%d"}}"#, "The time of rendering, as `format_time` writes it."),
    of("format_time", (1, 2), &["tz", "unit", "parse", "plus"], Value, r#"{{format_time data.at "%Y-%m-%d %H:%M" tz="Europe/Berlin"}}"#, "A time in a strftime format, without one as in RFC 3339. It takes RFC 3339 text, or a number since 1970: `unit` (`s`, `ms`, `us`, `ns`) says of what, without it seconds, or milliseconds from 100 000 000 000 on. `parse` is the strptime format of other text, `plus` a span that is added (`1h 30m`, `-1 day`), `tz` the time zone of what is written."),
    of("uuid", (0, 0), &[], Value, "{{uuid}}", "A random UUID."),
    of("jsonpath", (1, 1), &[], Value, r#"{{jsonpath "$.data.items[0].sku"}}"#, "What a JSONPath query finds in the event: one value, or an array of several. Nothing found is an error."),
    of("query", (1, 1), &[], Value, r#"{{json (query "$.data.items[*].sku")}}"#, "All that a JSONPath query finds in the event, always as an array."),
    of("lookup", (2, 2), &[], Value, r#"{{lookup data.prices "EUR"}}"#, "The member of that name, or the element of that index. None is an error."),
    of("pick", (2, MANY), &[], Value, r#"{{json (pick data.customer "id" "name")}}"#, "An object with only these of its members, in this order; those that it lacks are left out. An object."),
    of("omit", (2, MANY), &[], Value, r#"{{json (omit data.customer "email")}}"#, "An object without these of its members. An object."),
    of("keys", (1, 1), &[], Value, "{{json (keys data.prices)}}", "The names of an object's members as an array, in their order. An object."),
    of("has", (2, 2), &[], Value, r#"{{#if (has data.customer "email")}}…{{/if}}"#, "Whether an object has a member of this name, also one that is null. An object; of null and what is missing it is `false`."),
    of("len", (1, 1), &[], Value, "{{len data.items}}", "The number of characters, elements or members. Text, an array or an object."),
    of("if", (1, 1), &["includeZero"], Block, "{{#if data.vip}}…{{else}}…{{/if}}", "What stands in it, if the value is neither missing, null, `false`, 0 nor empty; otherwise what stands behind `{{else}}`."),
    of("unless", (1, 1), &["includeZero"], Block, "{{#unless data.vip}}…{{/unless}}", "The reverse of `#if`."),
    of("each", (1, 1), &[], Block, "{{#each data.items}}{{sku}} {{/each}}", "What stands in it, once for each element or member; null and what is missing are an empty list. `@index`, `@key`, `@first` and `@last` tell which. An array or an object."),
    of("with", (1, 1), &[], Block, "{{#with data.customer}}{{id}}{{/with}}", "What stands in it, with paths that begin in the value."),
    of("raw", (0, 0), &[], Block, "{{{{raw}}}}…{{{{/raw}}}}", "What stands in it, as it is."),
    of("eq", (2, 2), &[], ValueOrBlock, r#"{{#if (eq data.type "paid")}}…{{/if}}"#, "Whether both values are equal: numbers by value, and values of different types never."),
    of("ne", (2, 2), &[], ValueOrBlock, r#"{{#if (ne data.type "paid")}}…{{/if}}"#, "Whether they are not."),
    of("gt", (2, 2), &[], ValueOrBlock, "{{#if (gt data.total 100)}}…{{/if}}", "Whether the first value is greater. Two numbers or two texts, as for the next three."),
    of("gte", (2, 2), &[], ValueOrBlock, "{{#if (gte data.total 100)}}…{{/if}}", "Whether it is greater or equal."),
    of("lt", (2, 2), &[], ValueOrBlock, "{{#if (lt data.total 100)}}…{{/if}}", "Whether it is less."),
    of("lte", (2, 2), &[], ValueOrBlock, "{{#if (lte data.total 100)}}…{{/if}}", "Whether it is less or equal."),
    of("and", (1, MANY), &[], ValueOrBlock, "{{#if (and data.vip data.paid)}}…{{/if}}", "Whether all values count as true, as `#if` counts them."),
    of("or", (1, MANY), &[], ValueOrBlock, "{{#if (or data.vip data.paid)}}…{{/if}}", "Whether one of the values counts as true."),
    of("not", (1, 1), &[], ValueOrBlock, "{{#if (not data.vip)}}…{{/if}}", "Whether the value counts as false."),
];

const fn of(
    name: &'static str,
    values: (usize, usize),
    named: &'static [&'static str],
    kind: Kind,
    example: &'static str,
    gives: &'static str,
) -> Signature {
    Signature { name, values, named, kind, example, gives }
}
