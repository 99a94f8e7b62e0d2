//! Text in columns, for a terminal.
//!
//! Invariant: columns are two blanks apart, and no line ends in a blank. It knows no colours.

/// Rows one below the other, each column as wide as its widest cell.
pub(crate) fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let shown = text.chars();
    shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [
            ["A".to_owned(), "B".to_owned()],
            ["long".to_owned(), "-".to_owned()],
        ];
        assert_eq!(columns(&rows), "A     B\nlong  -\n");
    }
}
