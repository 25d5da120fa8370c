//! The rules about single files: how long they are, and where unsafe code stands.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};
use walkdir::WalkDir;

use crate::config::{Lines, Rule, UnsafeCode};
use crate::finding::Finding;

/// The Rust files of the repository, relative to its root, sorted. Hidden folders and those named in `skip` are left
/// out.
pub fn rust_files(root: &Path, skip: &[String]) -> Result<Vec<String>, String> {
    let walk = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0
            || !(name.starts_with('.') || (entry.file_type().is_dir() && skip.contains(&name.into_owned())))
    });
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| error.to_string())?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|extension| extension == "rs") {
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            files.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(files)
}

/// Whether a file lies in a folder, or is it. Both are relative to the repository's root.
pub fn is_in(file: &str, folder: &str) -> bool {
    file.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The finding for a file that is too long.
pub fn too_long(file: &str, text: &str, limits: &Lines) -> Option<Finding> {
    let lines = text.lines().count();
    let (kind, max) = if is_test_file(file) { ("a test file", limits.max_in_tests) } else { ("a file", limits.max) };
    (lines > max).then(|| {
        let text = format!("the file has {lines} lines, and {kind} may have {max}. Split it by subject.");
        Finding { file: file.to_owned(), line: max + 1, rule: Rule::Lines, text }
    })
}

/// Whether a file holds tests: it stands in a folder `tests`, or its name says so.
fn is_test_file(file: &str) -> bool {
    let (folders, name) = file.rsplit_once('/').unwrap_or(("", file));
    folders.split('/').any(|folder| folder == "tests") || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// The places in a file that hold unsafe code, unless the file may.
pub fn unsafe_code(root: &Path, file: &str, config: &UnsafeCode) -> Result<Vec<Finding>, String> {
    if config.allowed.iter().any(|folder| is_in(file, folder)) {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
    let tokens: TokenStream = text.parse().map_err(|error: LexError| {
        let line = error.span().start().line;
        format!("{file}:{line}: the file cannot be parsed: {error}")
    })?;
    let mut places = Vec::new();
    find_unsafe(tokens, &mut places);
    let allowed = match config.allowed.join(", ") {
        none if none.is_empty() => "it is allowed nowhere".to_owned(),
        folders => format!("it is allowed in {folders} only"),
    };
    let finding = |(line, what): (usize, &str)| {
        let text = format!("{what} here: {allowed}. Call a safe function from there instead.");
        Finding { file: file.to_owned(), line, rule: Rule::Unsafe, text }
    };
    Ok(places.into_iter().map(finding).collect())
}

/// Finds the word `unsafe`, also in the arguments of macros, and attributes that allow it.
fn find_unsafe(tokens: TokenStream, places: &mut Vec<(usize, &'static str)>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) => {
                let line = ident.span().start().line;
                match (ident.to_string().as_str(), tokens.peek()) {
                    ("unsafe", next) => places.push((line, kind_of_unsafe(next))),
                    ("allow" | "expect" | "warn", Some(TokenTree::Group(group))) if mentions_lint(group.stream()) => {
                        places.push((line, "an attribute that lets `unsafe_code` pass stands"));
                    }
                    _ => {}
                }
            }
            TokenTree::Group(group) => find_unsafe(group.stream(), places),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn mentions_lint(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == "unsafe_code"))
}

/// What the word `unsafe` begins, by the token after it.
fn kind_of_unsafe(next: Option<&TokenTree>) -> &'static str {
    match next {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => "an unsafe block stands",
        Some(TokenTree::Group(_)) => "an unsafe attribute stands",
        Some(TokenTree::Ident(word)) => match word.to_string().as_str() {
            "fn" => "an unsafe function stands",
            "impl" => "an unsafe implementation stands",
            "trait" => "an unsafe trait stands",
            "extern" => "an unsafe function or extern block stands",
            _ => "unsafe code stands",
        },
        _ => "unsafe code stands",
    }
}
