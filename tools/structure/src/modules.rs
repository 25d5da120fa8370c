//! The rules about modules: no circles, no use of a higher layer, no file without a `mod` declaration.

use std::collections::BTreeSet;

use crate::config::{Config, Crate, Rule, FILE};
use crate::finding::Finding;
use crate::graph::{arrows, circles, tangle, Graph};
use crate::resolve::{Use, Uses};
use crate::source::Source;

/// A crate and the uses between its files.
pub struct Modules<'a> {
    /// What the configuration says of the crate.
    pub config: &'a Crate,
    /// Its modules.
    pub source: &'a Source,
    /// The uses between its files.
    pub uses: &'a Uses,
}

impl Modules<'_> {
    /// The circles between files. Uses by the files of `excepted` do not count.
    pub fn circles(&self, excepted: &BTreeSet<&str>) -> Vec<Finding> {
        let graph = self.graph(excepted);
        circles(&graph).iter().filter_map(|circle| self.circle(&graph, circle)).collect()
    }

    /// Whether a file lies on a circle if uses by the files of `excepted` do not count.
    pub fn is_in_circle(&self, file: &str, excepted: &BTreeSet<&str>) -> bool {
        let file = self.source.files.iter().position(|other| other == file);
        file.is_some_and(|file| !tangle(&self.graph(excepted), file).is_empty())
    }

    fn graph(&self, excepted: &BTreeSet<&str>) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in self.uses.keys() {
            if !excepted.contains(self.name(*from)) {
                graph.entry(*from).or_default().insert(*to);
            }
        }
        graph
    }

    fn circle(&self, graph: &Graph, circle: &[usize]) -> Option<Finding> {
        // A circle has no beginning: it is told from the file whose name is first.
        let start = (0..circle.len()).min_by_key(|index| circle.get(*index).map(|file| self.name(*file)))?;
        let mut circle = circle.to_vec();
        circle.rotate_left(start);
        let uses: Vec<(usize, usize, &Use)> =
            arrows(&circle).filter_map(|(from, to)| Some((from, to, self.uses.get(&(from, to))?))).collect();
        let (first, _, Use { line, .. }) = *uses.first()?;
        let steps: Vec<String> = uses
            .iter()
            .map(|(from, to, Use { line, path, .. })| {
                format!("{}:{line} uses {} (`{path}`)", self.name(*from), self.name(*to))
            })
            .collect();
        let tangle = tangle(graph, first).len();
        let others = match tangle - circle.len().min(tangle) {
            0 => String::new(),
            _ => format!(" In all, {tangle} files reach each other in circles."),
        };
        let text = format!(
            "circle of modules: {}.{others} Move what they share to a module below them, or pass it in as an argument or a \
             trait.",
            steps.join(", "),
        );
        Some(Finding { file: self.name(first).to_owned(), line: *line, rule: Rule::Circle, text })
    }

    /// The uses of higher layers, the modules outside any layer, and the layers without a module.
    pub fn layers(&self, config: &Config) -> Vec<Finding> {
        let layers = &self.config.layers;
        if layers.is_empty() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut filled = BTreeSet::new();
        for (module, it) in self.source.modules.iter().enumerate().skip(1) {
            let is_file =
                it.parent.and_then(|parent| self.source.modules.get(parent)).map(|it| it.file) != Some(it.file);
            let layer = self.layer(module);
            filled.extend(layer);
            if layer.is_none() && is_file && !it.is_test {
                let text = format!(
                    "the module `{}` belongs to no layer. Move it into a folder that does, or add it to `layers` in {FILE}.",
                    self.source.path(module),
                );
                findings.push(Finding { file: self.source.file(module).to_owned(), line: 1, rule: Rule::Layer, text });
            }
        }
        for (_, layer) in layers.iter().enumerate().filter(|(index, _)| !filled.contains(index)) {
            let text = format!("the layer `{}` has no module. Correct its name, or remove it.", layer.get_ref());
            findings.push(Finding { file: FILE.to_owned(), line: config.line(layer), rule: Rule::Config, text });
        }
        // A path that leads through a re-export uses two files, but is wrong once.
        let mut places = BTreeSet::new();
        for it in self.uses.values().filter(|it| self.is_upward(it)) {
            if places.insert((self.source.file(it.user), it.line, &it.path)) {
                findings.push(self.upward(it));
            }
        }
        findings
    }

    fn is_upward(&self, it: &Use) -> bool {
        // The root uses all layers. Other modules without a layer are found as such.
        match (self.layer(it.user), self.layer(it.used)) {
            (None, _) => false,
            (Some(_), None) => it.used == 0,
            (Some(from), Some(to)) => to > from,
        }
    }

    fn upward(&self, it: &Use) -> Finding {
        let name = |layer: Option<usize>| {
            let layer = layer.and_then(|layer| self.config.layers.get(layer));
            layer.map_or("the crate's root", |layer| layer.get_ref().as_str())
        };
        let text = format!(
            "`{}` uses {}: the layer `{}` stands below `{}`. Move what is used down to the layer of its user, or pass it in \
             as an argument or a trait.",
            it.path,
            self.source.file(it.used),
            name(self.layer(it.user)),
            name(self.layer(it.used)),
        );
        Finding { file: self.source.file(it.user).to_owned(), line: it.line, rule: Rule::Layer, text }
    }

    /// The index of the layer that a module belongs to: the one with the longest path that leads to it.
    fn layer(&self, module: usize) -> Option<usize> {
        let path = self.source.path(module);
        let leads = |layer: &str| path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let layers = self.config.layers.iter().enumerate().map(|(index, layer)| (index, layer.get_ref().as_str()));
        layers.filter(|(_, layer)| leads(layer)).max_by_key(|(_, layer)| layer.len()).map(|(index, _)| index)
    }

    /// Those of the crate's Rust files that no `mod` declaration leads to.
    pub fn unreached<'f>(&self, files: impl Iterator<Item = &'f str>) -> Vec<Finding> {
        let unreached = files.filter(|file| !self.source.files.iter().any(|reached| reached == file));
        let text = "no `mod` declaration leads to this file, so nothing compiles it. Declare it, or remove it.";
        let finding = |file: &str| {
            let (file, text) = (file.to_owned(), text.to_owned());
            Finding { file, line: 1, rule: Rule::Unreached, text }
        };
        unreached.map(finding).collect()
    }

    fn name(&self, file: usize) -> &str {
        self.source.files.get(file).map(String::as_str).unwrap_or_default()
    }
}
