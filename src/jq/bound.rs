//! Values that `${…}` put into a program become variables of it: a program never reads them as its own text.
//!
//! Within quotes such a value is inserted, as `\(…)` inserts one; outside of quotes it is text by itself. In a comment it
//! is nothing.

use std::ops::Range;

use super::fault::Fault;
use super::value::Value;
use crate::interpolated::{Part, TextRef};

/// A program whose values are variables.
pub(super) struct Bound {
    /// What is compiled.
    pub(super) text: String,
    /// The variables.
    pub(super) variables: Vec<(String, Value)>,
    /// Places in what is compiled and what stands there in the program as it is written.
    pieces: Vec<Piece>,
}

struct Piece {
    compiled: Range<usize>,
    written: Range<usize>,
    is_value: bool,
}

/// Where in a program a place is.
enum Around {
    /// Outside of quotes, with so many open parentheses.
    Code(usize),
    /// Within quotes.
    Text,
}

impl Bound {
    pub(super) fn new(text: TextRef<'_>) -> Self {
        let mut bound = Self { text: String::new(), variables: Vec::new(), pieces: Vec::new() };
        let mut place = Place { around: vec![Around::Code(0)], is_escaped: false, is_comment: false };
        let mut written = 0;
        for part in text.parts() {
            let (Part::Written(piece) | Part::Value(piece)) = part;
            let start = bound.text.len();
            let is_value = matches!(part, Part::Value(_));
            if is_value {
                bound.push_value(piece, &place);
            } else {
                bound.text.push_str(piece);
                piece.chars().for_each(|character| place.pass(character));
            }
            let compiled = start..bound.text.len();
            bound.pieces.push(Piece { compiled, written: written..written + piece.len(), is_value });
            written += piece.len();
        }
        bound
    }

    fn push_value(&mut self, value: &str, place: &Place) {
        if place.is_comment {
            return;
        }
        let name = format!("$value_{}", self.variables.len());
        match place.around.last() {
            Some(Around::Text) => self.text += &format!("\\({name})"),
            _ => self.text += &format!("({name})"),
        }
        self.variables.push((name, Value::text(value)));
    }

    /// A fault with its place in the program as it is written.
    pub(super) fn as_written(&self, fault: Fault, text: &str) -> Fault {
        let part = self.written(fault.part.start, false)..self.written(fault.part.end, true);
        Fault { help: fault.help, ..Fault::new(text, part.start..part.end.max(part.start), fault.message) }
    }

    fn written(&self, place: usize, is_end: bool) -> usize {
        let holds = |piece: &&Piece| if is_end { place <= piece.compiled.end } else { place < piece.compiled.end };
        match self.pieces.iter().find(holds).or(self.pieces.last()) {
            Some(piece) if piece.is_value && is_end => piece.written.end,
            Some(piece) if piece.is_value => piece.written.start,
            Some(piece) => (piece.written.start + place.saturating_sub(piece.compiled.start)).min(piece.written.end),
            None => 0,
        }
    }
}

struct Place {
    around: Vec<Around>,
    /// Behind a backslash.
    is_escaped: bool,
    is_comment: bool,
}

impl Place {
    fn pass(&mut self, character: char) {
        if self.is_comment {
            self.is_comment = character != '\n';
            return;
        }
        let levels = self.around.len();
        match (self.around.last_mut(), character) {
            (Some(Around::Text), '(') if self.is_escaped => {
                self.is_escaped = false;
                self.around.push(Around::Code(0));
            }
            (Some(Around::Text), _) if self.is_escaped => self.is_escaped = false,
            (Some(Around::Text), '\\') => self.is_escaped = true,
            (Some(Around::Text), '"') => {
                self.around.pop();
            }
            (Some(Around::Code(_)), '"') => self.around.push(Around::Text),
            (Some(Around::Code(_)), '#') => self.is_comment = true,
            (Some(Around::Code(open)), '(') => *open += 1,
            (Some(Around::Code(open)), ')') if *open > 0 => *open -= 1,
            (Some(Around::Code(_)), ')') if levels > 1 => {
                self.around.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpolated::InterpolatedText;
    use crate::jq::{Options, Program};

    fn text(parts: &[&str]) -> InterpolatedText {
        serde_json::from_value(serde_json::json!(parts)).unwrap()
    }

    #[test]
    fn values_are_data_wherever_they_stand() {
        for (parts, expected) in [
            (&["\"Bearer ", "x\"y\\(.a)", "\""][..], r#""Bearer x\"y\\(.a)""#),
            (&["", "env.HOME", ""], r#""env.HOME""#),
            (&["[\"\\(", "x", ")\", ", "y", "]"], r#"["x","y"]"#),
            (&["1 # ", "\n2", "\n+ 1"], "2"),
            (&["\"a\\\"", "b", "\""], r#""a\"b""#),
            (&["\"\\(\"(\" + ", "b", ")\""], r#""(b""#),
        ] {
            let program = Program::compile(&text(parts), &Options::default()).unwrap();
            assert_eq!(program.run_one(&Value::Null).unwrap().to_json(), expected, "{parts:?}");
        }
    }

    #[test]
    fn faults_stand_where_they_are_written() {
        let text = text(&["{a: \"", "secret of some length", "\", b: nme}\n| ", "", "x y"]);
        let faults = Program::compile(&text, &Options::default()).unwrap_err();
        assert_eq!(&text.as_str()[faults[0].part.clone()], "x", "{faults:?}");
        let text = super::tests::text(&["{a: \"", "secret", "\", b: nme}"]);
        let faults = Program::compile(&text, &Options::default()).unwrap_err();
        assert_eq!(&text.as_str()[faults[0].part.clone()], "nme", "{faults:?}");
    }
}
