//! What differs between two texts, line by line, for an operator to glance at.

/// Above this many lines that differ they are not matched with one another: the table of their common parts grows with
/// the square.
const MATCHED_MAX: usize = 300;

/// Equal lines that are shown around what differs.
const AROUND: usize = 1;

/// Lines with `-` were in the first text alone, those with `+` are in the second alone; equal ones far from a
/// difference are left out.
pub fn lines(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same_first = before
        .iter()
        .zip(&after)
        .take_while(|(left, right)| left == right)
        .count();
    let (left, right) = (&before[same_first..], &after[same_first..]);
    let same_last = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take_while(|(left, right)| left == right)
        .count();
    let (left, right) = (&left[..left.len() - same_last], &right[..right.len() - same_last]);
    let mut marked: Vec<(char, &str)> = before[..same_first].iter().map(|line| (' ', *line)).collect();
    marked.extend(middle(left, right));
    marked.extend(before[before.len() - same_last..].iter().map(|line| (' ', *line)));
    near_differences(&marked)
}

/// What was taken out and put in between equal lines.
fn middle<'a>(left: &[&'a str], right: &[&'a str]) -> Vec<(char, &'a str)> {
    if left.len().max(right.len()) > MATCHED_MAX {
        let gone = left.iter().map(|line| ('-', *line));
        return gone.chain(right.iter().map(|line| ('+', *line))).collect();
    }
    let common = common_lengths(left, right);
    let (mut at, mut to) = (0, 0);
    let mut marked = Vec::new();
    while at < left.len() || to < right.len() {
        if at < left.len() && to < right.len() && left[at] == right[to] {
            marked.push((' ', left[at]));
            (at, to) = (at + 1, to + 1);
        } else if to == right.len() || (at < left.len() && common[at + 1][to] >= common[at][to + 1]) {
            marked.push(('-', left[at]));
            at += 1;
        } else {
            marked.push(('+', right[to]));
            to += 1;
        }
    }
    marked
}

/// How many lines the rests from each place on have in common.
fn common_lengths(left: &[&str], right: &[&str]) -> Vec<Vec<usize>> {
    let mut common = vec![vec![0; right.len() + 1]; left.len() + 1];
    for at in (0..left.len()).rev() {
        for to in (0..right.len()).rev() {
            common[at][to] = if left[at] == right[to] {
                common[at + 1][to + 1] + 1
            } else {
                common[at + 1][to].max(common[at][to + 1])
            };
        }
    }
    common
}

fn near_differences(marked: &[(char, &str)]) -> Vec<String> {
    let is_near = |place: usize| {
        let around = place.saturating_sub(AROUND)..(place + AROUND + 1).min(marked.len());
        marked[around].iter().any(|(mark, _)| *mark != ' ')
    };
    let near = marked.iter().enumerate().filter(|(place, _)| is_near(*place));
    near.map(|(_, (mark, line))| format!("{mark} {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_its_neighbours() {
        let before = "{\n  a\n  b\n  c\n  d\n}";
        assert_eq!(
            lines(before, "{\n  a\n  b\n  C\n  d\n}"),
            ["    b", "-   c", "+   C", "    d"]
        );
        assert_eq!(lines(before, before), Vec::<String>::new());
        assert_eq!(lines("a\nx\nb\ny", "a\nb\nz\ny"), ["  a", "- x", "  b", "+ z", "  y"]);
        assert_eq!(lines("", "a"), ["+ a"]);
    }

    #[test]
    fn very_long_ones_are_shown_one_after_the_other() {
        let (before, after) = ("a\n".repeat(400), "b\n".repeat(400));
        let shown = lines(&before, &after);
        assert_eq!(
            (shown.len(), shown[0].as_str(), shown[400].as_str()),
            (800, "- a", "+ b")
        );
    }
}
