//! Tables for people: columns as wide as they need, the wide ones cut with `…` where the line would not fit. Without a
//! width, as in a pipe, no cell is cut.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;

/// How a column is laid out.
#[derive(Debug, Clone, Copy)]
pub struct TableColumn {
    pub heading: &'static str,
    /// Numbers are put at the right.
    pub right: bool,
    /// The least width to which it may be cut; `None`: never.
    pub least: Option<usize>,
    /// The most width it takes, however much there is.
    pub most: usize,
}

/// Columns with their widths. Cells are expected to be escaped already.
#[derive(Debug)]
pub struct Layout<'a> {
    columns: &'a [TableColumn],
    widths: Vec<usize>,
    cuts: bool,
}

impl<'a> Layout<'a> {
    /// Each column as wide as its widest cell; then the widest that may be cut loses a column at a time until the line
    /// fits `width` (or only columns that are never cut are left). Without a `width` a cell that is wider than its
    /// column juts out of it: one very long id must not make every line as long.
    pub fn fit(columns: &'a [TableColumn], rows: &[Vec<String>], width: Option<usize>) -> Self {
        let widest = |place: usize, column: &TableColumn| {
            let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.width());
            cells.max().unwrap_or(0).min(column.most).max(column.heading.width())
        };
        let mut widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(place, column)| widest(place, column))
            .collect();
        let gaps = GAP * columns.len().saturating_sub(1);
        while width.is_some_and(|width| widths.iter().sum::<usize>() + gaps > width) {
            let cuttable = columns
                .iter()
                .zip(&mut widths)
                .filter(|(column, width)| column.least.is_some_and(|least| **width > least));
            match cuttable.max_by_key(|(_, width)| **width) {
                Some((_, width)) => *width -= 1,
                None => break,
            }
        }
        Self {
            columns,
            widths,
            cuts: width.is_some(),
        }
    }

    /// The line with the headings.
    pub fn heading(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        self.row(&headings)
    }

    /// A row as a line, without blanks at its end and without the line break.
    pub fn row(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for ((column, width), cell) in self.columns.iter().zip(&self.widths).zip(cells) {
            let cell = if self.cuts && column.least.is_some() {
                truncate(cell, *width)
            } else {
                cell.clone()
            };
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            if column.right {
                line.push_str(&blanks);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&blanks);
            }
            line.push_str(&" ".repeat(GAP));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The text if it is at most `width` columns wide, else its beginning and `…`.
pub fn truncate(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push(character);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// The text in lines of at most `width` columns, broken at blanks, each after `indent`. A longer word is on a line
/// of its own.
pub fn wrap(text: &str, indent: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if indent.width() + line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| [indent, line, "\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [TableColumn; 3] = [
        TableColumn {
            heading: "ID",
            right: true,
            least: None,
            most: 20,
        },
        TableColumn {
            heading: "STATE",
            right: false,
            least: Some(5),
            most: 12,
        },
        TableColumn {
            heading: "ERROR",
            right: false,
            least: Some(6),
            most: 99,
        },
    ];

    fn row(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    fn table(rows: &[Vec<String>], width: usize) -> Vec<String> {
        let layout = Layout::fit(&COLUMNS, rows, Some(width));
        std::iter::once(layout.heading())
            .chain(rows.iter().map(|row| layout.row(row)))
            .collect()
    }

    #[test]
    fn a_table_that_fits_is_not_cut() {
        let lines = table(&[row(["1", "dead", "bad"]), row(["12", "pending", ""])], 80);
        assert_eq!(lines, ["ID  STATE    ERROR", " 1  dead     bad", "12  pending"]);
    }

    #[test]
    fn the_widest_column_is_cut_first_and_no_line_is_too_long() {
        let rows = [row([
            "123",
            "dead: rejected",
            "the commerce is not known in this tenant",
        ])];
        for width in [19, 24, 30, 50] {
            let lines = table(&rows, width);
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
            assert!(lines[1].contains("123") && lines[1].contains('…'), "{lines:?}");
        }
        assert!(table(&rows, 30)[1].contains("dead: re"));
    }

    #[test]
    fn without_a_width_nothing_is_cut_and_one_long_cell_does_not_widen_the_others() {
        let long = "x".repeat(40);
        let rows = [row(["1", &long, "a"]), row(["2", "dead", "b"])];
        let layout = Layout::fit(&COLUMNS, &rows, None);
        assert_eq!(layout.row(&rows[0]), format!(" 1  {long}  a"));
        assert_eq!(layout.row(&rows[1]), " 2  dead          b");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(truncate("漢字漢字", 5), "漢字…");
        assert_eq!(truncate("漢字漢字", 6), "漢字…");
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abc", 0), "");
    }

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrap("one two three", "  ", 9), "  one two\n  three\n");
        assert_eq!(wrap("averylongword x", "", 5), "averylongword\nx\n");
    }
}
