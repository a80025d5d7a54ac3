//! What is no Handlebars in a tag, and what to write here in its place: operators, filters, calls and paths of other
//! languages. It is asked only about tags that cannot be parsed.

use super::fault::TemplateFault;
use super::foreign::{self, Meaning};
use super::infix::{calculation, first_sign, is_calculation, path, starts_in_envelope, to_helpers, without_quotes};
use super::tags::{Kind, Tag};

/// What is wrong with a tag, if it is a mistake that people bring from elsewhere.
pub(super) fn in_tag(tag: &Tag<'_>) -> Option<TemplateFault> {
    if matches!(tag.kind, Kind::Close | Kind::Other) {
        return None;
    }
    if tag.body.is_empty() {
        let fault = TemplateFault::new("there is nothing between the braces");
        return Some(fault.help("write a path, such as {{data.id}}, or \\{{ for two braces that are meant as text"));
    }
    let Some(bare) = without_quotes(tag.body) else {
        let fault = TemplateFault::new("a quote is not closed within this expression");
        return Some(fault.help("text in an expression stands between two quotes: {{default data.region \"none\"}}"));
    };
    let expression = Expression { tag, bare };
    // In this order, as the later ones would misread what the earlier ones find.
    expression
        .backslash()
        .or_else(|| expression.dashes())
        .or_else(|| expression.pipe())
        .or_else(|| expression.ternary())
        .or_else(|| expression.chaining())
        .or_else(|| expression.operator())
        .or_else(|| expression.calculation())
        .or_else(|| expression.block_without_sign())
        .or_else(|| expression.method_or_call())
        .or_else(|| expression.comma_or_as())
        .or_else(|| expression.literal())
        .or_else(|| expression.other_path())
}

struct Expression<'a> {
    tag: &'a Tag<'a>,
    /// The tag without what stands in quotes.
    bare: String,
}

impl Expression<'_> {
    /// `{{jsonpath "$.data[?match(@, 'o-\d')]"}}`
    fn backslash(&self) -> Option<TemplateFault> {
        let body = self.tag.body;
        let mut offset = 0;
        while let Some(start) = body[offset..].find('\\').map(|found| offset + found) {
            let next = body[start + 1..].chars().next()?;
            if !"\"'\\/bfnrtu".contains(next) {
                let fault =
                    TemplateFault::new(format!("`\\{next}` is not an escape sequence of text in an expression"));
                let help = "a backslash within quotes is doubled, and once more in a JSONPath pattern: `'\\\\\\\\d'`";
                return Some(fault.about(&format!("\\{next}")).help(help));
            }
            offset = start + 1 + next.len_utf8();
        }
        None
    }

    /// `{{- data.id -}}`, as in Go and Jinja.
    fn dashes(&self) -> Option<TemplateFault> {
        let body = self.tag.body;
        let inner = body.trim_start_matches("- ").trim_end_matches(" -").trim_end_matches('-');
        if inner == body || inner.is_empty() {
            return None;
        }
        let inner = path(inner.trim()).unwrap_or_else(|| inner.trim().to_owned());
        let help = format!("write `~`: `{}`", self.form(&format!("~{inner}~")));
        Some(TemplateFault::new("`-` takes no blanks away here").help(help))
    }

    /// `{{data.f | round}}`, `{{data.f | default: "x"}}`
    fn pipe(&self) -> Option<TemplateFault> {
        let bare = self.bare.replace("||", "xx");
        let start = bare.find('|').filter(|_| !bare.contains(" as |"))?;
        let fault = TemplateFault::new("there are no filters behind `|`: a helper stands before its value").about("|");
        let mut value = to_helpers(self.tag.body.get(..start)?);
        let mut ends: Vec<usize> = bare.match_indices('|').map(|(offset, _)| offset).skip(1).collect();
        ends.push(bare.len());
        let mut filter_start = start + 1;
        for end in ends {
            let filter = self.tag.body.get(filter_start..end)?.trim();
            filter_start = end + 1;
            let (name, arguments) =
                filter.split_at(filter.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(filter.len()));
            match foreign::meaning(name) {
                Some(Meaning::Advice(advice)) => return Some(fault.help(format!("of `{name}`: {advice}"))),
                Some(Meaning::Helper(helper)) => value = value.and_then(|value| called(helper, &value, arguments)),
                None => value = None,
            }
        }
        let value = value.map(|value| unwrapped(&value).to_owned());
        let help = match value {
            Some(value) if self.tag.kind == Kind::Value => format!("write `{{{{{value}}}}}`"),
            Some(value) => format!("write `{}`", self.form(&format!("({value})"))),
            None => "for example `{{upper data.region}}`".to_owned(),
        };
        Some(fault.help(help))
    }

    /// `{{a ? b : c}}`, and Python's `{{b if a else c}}`
    fn ternary(&self) -> Option<TemplateFault> {
        let bare = self.bare.replace("?.", "xx").replace("??", "xx");
        let piece = |from: usize, to: usize| Some(self.tag.body.get(from..to)?.trim());
        let (condition, one, other) = match (bare.find('?'), bare.find(" if "), bare.find(" else ")) {
            (Some(question), ..) => {
                let colon = bare.rfind(':').filter(|colon| *colon > question)?;
                (piece(0, question)?, piece(question + 1, colon)?, piece(colon + 1, bare.len())?)
            }
            (None, Some(first), Some(second)) if first < second => {
                (piece(first + 4, second)?, piece(0, first)?, piece(second + 6, bare.len())?)
            }
            _ => return None,
        };
        let choice = || {
            let condition = to_helpers(condition)?;
            Some(format!("{{{{#if {condition}}}}}{}{{{{else}}}}{}{{{{/if}}}}", shown(one)?, shown(other)?))
        };
        let written = choice().unwrap_or_else(|| "{{#if data.vip}}…{{else}}…{{/if}}".to_owned());
        Some(TemplateFault::new("a choice between two values is a block").help(format!("write `{written}`")))
    }

    /// `{{data?.x}}`
    fn chaining(&self) -> Option<TemplateFault> {
        self.bare.contains("?.").then(|| {
            let path = path(self.tag.body).unwrap_or_else(|| "data.region".to_owned());
            let help = format!("a value that may be missing has a default: `{{{{default {path} \"\"}}}}`");
            TemplateFault::new("there is no `?.`").about("?.").help(help)
        })
    }

    /// `{{data.type == "x"}}`, `{{#if data.total > 100}}`, `{{a && b}}`, `{{#if !a}}`
    fn operator(&self) -> Option<TemplateFault> {
        let (_, condition) = self.parts();
        let sign = first_sign(&self.bare);
        let translated = to_helpers(condition).filter(|text| text.starts_with('(') && !is_calculation(text));
        let sign = match (sign, &translated) {
            (Some("="), None) | (None, None) => return None,
            (Some(sign), _) => sign,
            (None, Some(call)) => unwrapped(call).split(' ').next().unwrap_or_default(),
        };
        let fault = match first_sign(&self.bare) {
            Some(_) => TemplateFault::new(format!("`{sign}` is not an operator of templates")).about(sign),
            None => TemplateFault::new("a condition is a block, and a helper in it stands in parentheses"),
        };
        let help = match translated {
            Some(call) if self.is_condition() => self.form(&call),
            Some(call) if self.tag.kind == Kind::Value && has_default(&call) => {
                format!("{{{{{}}}}}", unwrapped(&call).replacen("or ", "default ", 1))
            }
            Some(call) => format!("{{{{#if {call}}}}}…{{{{/if}}}}"),
            None if first_sign(&self.bare) == Some("!") => "{{#if (not data.vip)}}…{{/if}}".to_owned(),
            None => "{{#if (eq data.type \"x\")}}…{{/if}}".to_owned(),
        };
        Some(fault.help(format!("write `{help}`")))
    }

    /// `{{data.total / 100}}`
    fn calculation(&self) -> Option<TemplateFault> {
        let sign = ["+", "*", "%", " - ", " / "].iter().find(|sign| self.bare.contains(**sign))?;
        if *sign == "+" && self.tag.body != self.bare {
            let parts: Option<Vec<_>> = self.tag.body.split('+').map(|part| shown(part.trim())).collect();
            let joined = parts.map_or_else(|| "Order {{data.id}}".to_owned(), |parts| parts.concat());
            let fault = TemplateFault::new("text is not joined by `+`").about("+");
            return Some(fault.help(format!("text and values stand side by side: `{joined}`")));
        }
        let fault = TemplateFault::new(format!("`{}` is not an operator of templates", sign.trim())).about(sign.trim());
        Some(fault.help(calculation(self.parts().1)))
    }

    /// `{{if .data.vip}}`, `{{range .data.items}}`
    fn block_without_sign(&self) -> Option<TemplateFault> {
        let (name, rest) = self.tag.body.split_once(char::is_whitespace)?;
        let helper = match foreign::meaning(name)? {
            Meaning::Helper(helper @ ("if" | "unless" | "each" | "with")) => helper,
            _ => return None,
        };
        if self.tag.kind != Kind::Value {
            return None;
        }
        let value = to_helpers(rest).unwrap_or_else(|| "data.items".to_owned());
        let fault = TemplateFault::new(format!("`{helper}` is a block")).about(name);
        Some(fault.help(format!("write `{{{{#{helper} {value}}}}}…{{{{/{helper}}}}}`")))
    }

    /// `{{data.name.toUpperCase()}}`, `{{default(data.x, "y")}}`
    fn method_or_call(&self) -> Option<TemplateFault> {
        let open = self.bare.find('(')?;
        let before = self.tag.body.get(..open)?;
        if before.ends_with(char::is_whitespace) || before.is_empty() {
            return None;
        }
        // `JSON.stringify` is one name.
        let whole = before.rsplit_once('.').filter(|_| foreign::meaning(before).is_none());
        let (value, name) = whole.map_or((None, before), |(value, name)| (Some(value), name));
        let arguments = self.tag.body.get(open..)?;
        let (fault, generic) = match value {
            Some(_) => (
                TemplateFault::new(format!("`{name}()` cannot be called on a value")).about(&format!("{name}(")),
                "a helper stands before its value: `{{upper data.region}}`",
            ),
            None => (
                TemplateFault::new("a helper and its values stand side by side, without parentheses and commas"),
                "for example `{{default data.region \"none\"}}`",
            ),
        };
        let written = match foreign::meaning(name) {
            Some(Meaning::Advice(advice)) => return Some(fault.help(format!("of `{name}`: {advice}"))),
            Some(Meaning::Helper(helper)) => match value {
                Some(value) => path(value).and_then(|value| called(helper, &value, arguments)),
                None => called(helper, "", arguments),
            },
            None => None,
        };
        Some(match written {
            Some(call) if self.tag.kind == Kind::Value => fault.help(format!("write `{{{{{}}}}}`", unwrapped(&call))),
            _ => fault.help(generic),
        })
    }

    /// `{{default data.x, "y"}}`, `{{#each data.items as item}}`
    fn comma_or_as(&self) -> Option<TemplateFault> {
        if self.bare.contains(',') {
            let fault = TemplateFault::new("values stand side by side, without commas").about(",");
            return Some(fault.help("for example `{{default data.region \"none\"}}`"));
        }
        let (list, name) = self.tag.body.split_once(" as ")?;
        let name = name.trim_matches(|c: char| !c.is_alphanumeric());
        let fault = TemplateFault::new("a name that `as` gives stands between `|` and `|`").about("as");
        Some(fault.help(format!("write `{{{{#{list} as |{name}|}}}}`")))
    }

    /// `{{"text"}}`
    fn literal(&self) -> Option<TemplateFault> {
        let body = self.tag.body;
        let is_literal = body.starts_with(['"', '\'']) && self.bare.chars().all(|character| character == 'x');
        is_literal.then(|| {
            let text = body.trim_matches(['"', '\'']);
            TemplateFault::new("text alone is no expression").help(format!("write it without braces: `{text}`"))
        })
    }

    /// `{{.data.id}}`, `{{data.items[0]}}`, `{{.}}`
    fn other_path(&self) -> Option<TemplateFault> {
        let (_, value) = self.parts();
        if value == "." {
            return Some(TemplateFault::new("`.` is no value").help("what a block stands for is `this`"));
        }
        // With what stands before it, in the form of a helper and its values.
        let values = words(value)?;
        let written: Vec<_> = values.iter().map(|value| path(value).unwrap_or_else(|| (*value).to_owned())).collect();
        let wrong = values.iter().zip(&written).find(|(value, written)| *value != written)?;
        let form = self.form(&written.join(" "));
        if !wrong.0.starts_with('.') {
            let fault = TemplateFault::new(format!("`{}` is not how a path is written here", wrong.0)).about(wrong.0);
            return Some(fault.help(format!("write `{form}`")));
        }
        let fault = TemplateFault::new("a path begins without a dot").about(wrong.0);
        Some(fault.help(match starts_in_envelope(wrong.1) {
            true => format!("write `{form}`"),
            false => {
                let of_payload = foreign::in_payload(wrong.1);
                format!(
                    "write `{}`, or without `data.` within a block",
                    form.replacen(wrong.1.as_str(), &of_payload, 1)
                )
            }
        }))
    }

    /// What stands before the condition in its tag (`#if `, `else if `, or nothing), and the condition.
    fn parts(&self) -> (String, &str) {
        let body = self.tag.body;
        let (name, rest) = body.split_once(char::is_whitespace).unwrap_or(("", body));
        let is_block = matches!(foreign::meaning(name), Some(Meaning::Helper("if" | "unless" | "each" | "with")));
        match self.tag.kind {
            Kind::Open if !name.is_empty() => (format!("#{name} "), rest),
            Kind::Else if is_block => (format!("else {name} "), rest),
            Kind::Else => ("else if ".to_owned(), body),
            _ if matches!(name, "if" | "unless") => (format!("#{name} "), rest),
            _ => (String::new(), body),
        }
    }

    /// Whether the tag asks something: `{{#if …}}`, `{{else if …}}`.
    fn is_condition(&self) -> bool {
        matches!(self.parts().0.trim(), "#if" | "#unless" | "else if" | "else unless")
    }

    /// The tag with another condition or value.
    fn form(&self, value: &str) -> String {
        format!("{{{{{}{value}}}}}", self.parts().0)
    }
}

/// The call of a helper with what stood behind its name in another language: `: "x"`, `("x", 2)` or ` "x"`.
fn called(helper: &str, value: &str, arguments: &str) -> Option<String> {
    let inner = arguments.trim().trim_start_matches([':', '(']).trim_end_matches(')');
    let bare = without_quotes(inner)?;
    let mut starts = vec![0];
    starts.extend(bare.match_indices([',', ' ']).map(|(offset, _)| offset + 1));
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([inner.len()]);
    let pieces = starts.iter().zip(ends).map(|(start, end)| inner.get(*start..end).unwrap_or_default().trim());
    let pieces: Option<Vec<String>> = pieces.filter(|piece| !piece.is_empty()).map(to_helpers).collect();
    let mut values: Vec<String> =
        Some(value).filter(|value| !value.is_empty()).map(str::to_owned).into_iter().collect();
    values.extend(pieces?);
    match (helper, values.len()) {
        ("default", 1) => values.push("\"\"".to_owned()),
        ("format_time", 1) => values.push("\"%Y-%m-%d\"".to_owned()),
        ("fixed", 1) => values.push("2".to_owned()),
        ("truncate", 3) if values[1] == "0" => drop(values.remove(1)),
        ("truncate", 1) => values.push("100".to_owned()),
        (_, 0) => return None,
        _ => {}
    }
    Some(format!("({helper} {})", values.join(" ")))
}

/// The words of a text, where blanks within quotes end none.
fn words(text: &str) -> Option<Vec<&str>> {
    let bare = without_quotes(text)?;
    let mut starts = vec![0];
    starts.extend(bare.match_indices(char::is_whitespace).map(|(offset, blank)| offset + blank.len()));
    let ends = starts.iter().skip(1).copied().chain([bare.len()]);
    let words = starts.iter().zip(ends).filter_map(|(start, end)| text.get(*start..end));
    Some(words.map(str::trim).filter(|word| !word.is_empty()).collect())
}

/// A value as it stands in the text: a literal without quotes, a path in braces.
fn shown(value: &str) -> Option<String> {
    let unquoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(text) = unquoted('"').or_else(|| unquoted('\'')) {
        return Some(text.to_owned());
    }
    let value = to_helpers(value)?;
    let is_number = value.starts_with(|c: char| c.is_ascii_digit());
    Some(if is_number { value } else { format!("{{{{{}}}}}", unwrapped(&value)) })
}

fn has_default(call: &str) -> bool {
    call.starts_with("(or ") || call.starts_with("(default ")
}

/// A call without the parentheses around it.
fn unwrapped(call: &str) -> &str {
    call.strip_prefix('(').and_then(|call| call.strip_suffix(')')).unwrap_or(call)
}
