//! Columns of text for a terminal.

/// Rows of text in columns that are as wide as they must be.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

const GAP: &str = "  ";

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with these headings.
    pub(super) fn new(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// The table as lines, cut to `width` characters when there is one.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let widths: Vec<usize> = (0..COLUMNS)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join(GAP);
            text.push_str(&cut(line.trim_end(), width));
            text.push('\n');
        }
        text
    }
}

/// The beginning of a line that is longer than `width`, with a mark at its end.
fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let head: String = line.chars().take(width.saturating_sub(1)).collect();
            format!("{head}…")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_are_cut_to_the_width() {
        let mut table = Table::new(["ID", "NODE", "MESSAGE"]);
        table.add(["1", "sinks.crm", "größer als erlaubt"].map(str::to_owned));
        table.add(["1042", "sinks.b", ""].map(str::to_owned));
        insta::assert_snapshot!(table.render(None), @r"
        ID    NODE       MESSAGE
        1     sinks.crm  größer als erlaubt
        1042  sinks.b
        ");
        insta::assert_snapshot!(table.render(Some(24)), @r"
        ID    NODE       MESSAGE
        1     sinks.crm  größer…
        1042  sinks.b
        ");
    }
}
