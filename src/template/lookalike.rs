//! Finds text in a template that is an expression in another language, and goes out as it stands: `{% if x %}`,
//! `<%= x %>`, `{data.id}`, `$.data.id`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::fault::TemplateFault;
use super::infix;

/// Patterns, and whether what they find is a path, for which there is one to write.
#[expect(clippy::unwrap_used, reason = "the patterns are fixed, and a test compiles them")]
static PATTERNS: LazyLock<[(Regex, bool); 4]> = LazyLock::new(|| {
    let path = r"(?:data|headers|meta)\.[\w.\-\[\]'\x22]*[\w\]]";
    [
        (r"\{%[-+]?\s*(\w+)[^%]*%\}".to_owned(), false),
        (r"<%[=-]?\s*([^%]*?)\s*-?%>".to_owned(), true),
        (format!(r"[#%]?\{{({path})\}}"), true),
        (format!(r"\$\.({path})"), true),
    ]
    .map(|(pattern, is_path)| (Regex::new(&pattern).unwrap(), is_path))
});

/// What looks like an expression in a text outside of braces, and where.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, TemplateFault)> {
    let mut found: Vec<(Range<usize>, TemplateFault)> = Vec::new();
    for (pattern, is_path) in PATTERNS.iter() {
        for captures in pattern.captures_iter(text) {
            let (Some(whole), Some(inner)) = (captures.get(0), captures.get(1)) else { continue };
            let before = text[..whole.start()].chars().next_back();
            // Two braces, and what `$${…}` leaves, are meant as they are.
            let is_amount = whole.as_str().starts_with('$') && before.is_some_and(char::is_alphanumeric);
            let is_meant = is_amount || before.is_some_and(|before| "{$".contains(before));
            let is_known = found.iter().any(|(place, _)| place.contains(&whole.start()));
            if !is_meant && !is_known {
                found.push((whole.range(), fault(whole.as_str(), inner.as_str(), *is_path)));
            }
        }
    }
    found
}

fn fault(whole: &str, inner: &str, is_path: bool) -> TemplateFault {
    let fault = TemplateFault::new(format!("`{whole}` is no expression here, but text that is sent as it is"));
    if is_path {
        let path = infix::path(inner).unwrap_or_else(|| "data.id".to_owned());
        return fault.help(format!("write `{{{{{path}}}}}`"));
    }
    fault.help(match inner {
        "if" | "elif" | "elsif" | "else" | "endif" | "unless" | "endunless" | "case" | "when" | "endcase" => {
            "write `{{#if data.vip}}…{{else if data.paid}}…{{else}}…{{/if}}`"
        }
        "for" | "endfor" | "break" | "continue" => "write `{{#each data.items as |item|}}{{item.sku}}{{/each}}`",
        "set" | "assign" | "capture" | "endcapture" | "with" | "endwith" => {
            "a value gets a name with `{{#with data.customer as |c|}}{{c.id}}{{/with}}`"
        }
        "comment" | "endcomment" => "write `{{! … }}`",
        "raw" | "endraw" | "verbatim" | "endverbatim" => "write `{{{{raw}}}}…{{{{/raw}}}}`",
        _ => "templates are Handlebars: `{{data.id}}`, `{{#if data.vip}}…{{/if}}`, `{{#each data.items}}…{{/each}}`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_other_languages_are_told_from_text() {
        for (text, expected) in [
            ("{% if data.vip %}x{% endif %}", vec!["{% if data.vip %}", "{% endif %}"]),
            ("a {%- for x in data.items -%}", vec!["{%- for x in data.items -%}"]),
            ("<%= data.id %>", vec!["<%= data.id %>"]),
            ("\"{data.id}\", \"#{data.x}\"", vec!["{data.id}", "#{data.x}"]),
            ("\"$.data.items[0].sku\"", vec!["$.data.items[0].sku"]),
            ("{\"data\": {\"id\": 1}} 5% {x} $5 {data} ${data.id} {{data.id}} US$.data", vec![]),
            ("data.id, $.x, {headers}", vec![]),
        ] {
            let found: Vec<&str> = find(text).into_iter().map(|(place, _)| &text[place]).collect();
            assert_eq!(found, expected, "{text}");
        }
        let help = |text: &str| find(text).remove(0).1.help.unwrap();
        assert_eq!(help("<%= data['odd name'] %>"), "write `{{data.[odd name]}}`");
        assert_eq!(help("$.data.items[0].sku"), "write `{{data.items.[0].sku}}`");
        assert!(help("{% for x in y %}").contains("{{#each"));
    }
}
