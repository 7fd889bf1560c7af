//! Small kernels with one planted bug each, and beside each its correct twin.
//!
//! A source in `planted/` holds two kernels, `NAME_bug` and `NAME_ok`, and comments that say all the rest:
//!
//! - `// LAUNCH: grid=4 block=32,2 shared=256 cooperative args=float:64,fresh:8,5`: how both are launched (`LAUNCH_BUG:` and
//!   `LAUNCH_OK:` where they differ). Arguments are buffers of that many words, which hold small numbers (`float`), 0, 1, 2… (`iota`),
//!   zeros (`zero`) or nothing (`fresh`), which were freed (`freed`) or never will be (`leaked`); `null`; or an integer.
//! - `// FINDS: kind`: on the line at which the bug must be found, under every seed.
//! - `// MAY FIND: kind, kind`: what else may be found there, as the schedule goes. Anything else is wrong.
//! - `// COUNTS: counter=7`: what the bug costs; its twin has 0 there.

mod support;

use std::collections::BTreeSet;

use softgpu::check::Finding;
use softgpu::counters::Counters;
use softgpu::exec::launch::Config;
use softgpu::exec::program::LoadedModule;

/// A kind of finding at a line of the source; line 0 where it has none.
type Place = (String, u32);

struct Case {
    name: String,
    source: String,
    ptx: String,
    finds: BTreeSet<Place>,
    may_find: BTreeSet<Place>,
    counts: Vec<(String, u64)>,
}

struct Run {
    found: Vec<Finding>,
    places: BTreeSet<Place>,
    counters: Counters,
    contents: Vec<Vec<u8>>,
}

/// What follows `tag` in a line, up to the next one.
fn tagged<'a>(line: &'a str, tag: &str) -> Option<&'a str> {
    let comment = line.split_once("//")?.1;
    let after = comment.split(';').find_map(|part| part.trim().strip_prefix(tag))?;
    Some(after.trim())
}

fn cases() -> Vec<Case> {
    let folder = support::folder("planted");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of kernels")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".cu")?.to_string()))
        .collect();
    names.sort();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    names.into_iter().map(|name| case(&name, read(&format!("{name}.cu")), read(&format!("{name}.ptx")))).collect()
}

fn case(name: &str, source: String, ptx: String) -> Case {
    let mut case = Case {
        name: name.to_string(),
        ptx,
        finds: BTreeSet::new(),
        may_find: BTreeSet::new(),
        counts: vec![],
        source: String::new(),
    };
    for (line, number) in source.lines().zip(1..) {
        // A comment of its own line tells of what happens on the host.
        let number = if line.trim_start().starts_with("//") { 0 } else { number };
        let kinds = |list: &str| list.split(',').map(|kind| (kind.trim().to_string(), number)).collect::<Vec<_>>();
        case.finds.extend(tagged(line, "FINDS:").iter().flat_map(|list| kinds(list)));
        case.may_find.extend(tagged(line, "MAY FIND:").iter().flat_map(|list| kinds(list)));
        for count in tagged(line, "COUNTS:").iter().flat_map(|list| list.split(',')) {
            let (counter, value) = count.split_once('=').expect("COUNTS: counter=value");
            case.counts.push((counter.trim().to_string(), value.trim().parse().expect("a number")));
        }
    }
    assert!(!case.finds.is_empty() || !case.counts.is_empty(), "{name} says neither what is found nor what is counted");
    case.source = source;
    case
}

fn launch_line<'a>(case: &'a Case, twin: &str) -> &'a str {
    let own = format!("LAUNCH_{}:", twin.to_uppercase());
    let find = |tag: &str| case.source.lines().find_map(|line| tagged(line, tag));
    find(&own)
        .or_else(|| find("LAUNCH:"))
        .unwrap_or_else(|| panic!("{} does not say how {twin} is launched", case.name))
}

fn dimensions(text: &str) -> [u32; 3] {
    let mut all = [1; 3];
    for (one, part) in all.iter_mut().zip(text.split(',')) {
        *one = part.parse().expect("a dimension");
    }
    all
}

/// Runs one of the twins on a machine of its own.
fn run(case: &Case, twin: &str, seed: u64) -> Result<Run, String> {
    let machine = support::machine(seed);
    let module = LoadedModule::load(&case.ptx, &machine.arena).map_err(|error| error.to_string())?;
    let mut config = Config { grid: [1; 3], block: [1; 3], shared_bytes: 0, cooperative: false };
    let (mut values, mut buffers) = (vec![], vec![]);
    for word in launch_line(case, twin).split_whitespace() {
        match word.split_once('=') {
            Some(("grid", text)) => config.grid = dimensions(text),
            Some(("block", text)) => config.block = dimensions(text),
            Some(("shared", text)) => config.shared_bytes = text.parse().expect("bytes of shared memory"),
            Some(("args", text)) => {
                for argument in text.split(',') {
                    values.push(self::argument(&machine.arena, argument, &mut buffers));
                }
            }
            None if word == "cooperative" => config.cooperative = true,
            _ => panic!("{}: '{word}' is no part of a launch", case.name),
        }
    }
    let outcome = support::run(&machine, &module, &format!("{}_{twin}", case.name), &config, &values);
    let mut contents = vec![];
    for &(address, words, leaked) in &buffers {
        let mut bytes = vec![0; words * 4];
        machine.arena.copy_out(address, &mut bytes).expect("a buffer");
        contents.push(bytes);
        if !leaked {
            machine.arena.free(address).expect("freed once");
        }
    }
    module.unload(&machine.arena);
    let mut places: BTreeSet<Place> = outcome.findings.iter().map(|f| (kind(f), line(case, f))).collect();
    if !machine.arena.allocations().is_empty() {
        places.insert(("leak".to_string(), 0));
    }
    Ok(Run { found: outcome.findings, places, counters: outcome.counters, contents })
}

/// The value of an argument; its buffer, if it has one that still lives.
fn argument(arena: &softgpu::memory::Arena, text: &str, buffers: &mut Vec<(u64, usize, bool)>) -> u64 {
    if text == "null" {
        return 0;
    }
    let Some((content, words)) = text.split_once(':') else {
        return text.parse::<i64>().expect("an integer argument") as u64;
    };
    let words: usize = words.parse().expect("the words of a buffer");
    let address = arena.allocate(words as u64 * 4, text).expect("room for a buffer");
    let fill = |word: &dyn Fn(usize) -> u32| {
        let bytes: Vec<u8> = (0..words).flat_map(|i| word(i).to_le_bytes()).collect();
        arena.copy_in(address, &bytes).expect("a buffer");
    };
    match content {
        "float" => fill(&|i| ((i * 7 % 16) as f32 / 4.0 - 1.0).to_bits()),
        "iota" => fill(&|i| i as u32),
        "zero" => fill(&|_| 0),
        "fresh" | "leaked" => {}
        "freed" => {
            arena.free(address).expect("freed once");
            return address;
        }
        _ => panic!("'{content}' is no content of a buffer"),
    }
    buffers.push((address, words, content == "leaked"));
    address
}

/// The name of a finding's kind.
fn kind(finding: &Finding) -> String {
    serde_json::to_value(finding.kind).ok().and_then(|v| v.as_str().map(str::to_string)).expect("kinds are words")
}

/// The line of the case's source at which something was found: for code of a header, the line that it was inlined at.
fn line(case: &Case, finding: &Finding) -> u32 {
    if let Some(place) = finding.source.as_ref().filter(|place| place.file.ends_with(".cu")) {
        return place.line;
    }
    let before = case.ptx.lines().take(finding.ptx_line as usize).collect::<Vec<_>>();
    let own = |line: &&str| {
        let place =
            line.rsplit_once("inlined_at ").map(|(_, place)| place).or_else(|| line.trim().strip_prefix(".loc\t"))?;
        let mut words = place.split_whitespace();
        if words.next()? == "1" { words.next()?.parse().ok() } else { None }
    };
    before.iter().rev().find_map(own).unwrap_or(0)
}

fn counter(counters: &Counters, name: &str) -> u64 {
    match name {
        "bank_conflict_cycles" => counters.bank_conflict_cycles,
        "excess_load_sectors" => counters.global_load_sectors - counters.ideal_load_sectors,
        "excess_store_sectors" => counters.global_store_sectors - counters.ideal_store_sectors,
        "divergent_branches" => counters.divergent_branches,
        _ => panic!("'{name}' is not a counter that this test knows"),
    }
}

fn told(found: &[Finding]) -> String {
    found.iter().map(|finding| format!("\n    {finding}")).collect()
}

const SEEDS: u64 = 4;

/// Runs `check` for every case and seed, and fails with all that is wrong.
fn for_all(check: impl Fn(&Case, u64) -> Result<(), String>) {
    let mut wrong = vec![];
    for case in cases() {
        let first = (0..SEEDS).find_map(|seed| Some((seed, check(&case, seed).err()?)));
        wrong.extend(first.map(|(seed, message)| format!("{}, seed {seed}: {message}", case.name)));
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn ensure(right: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(message()) }
}

#[test]
fn every_bug_is_found_at_its_line() {
    for_all(|case, seed| {
        let run = run(case, "bug", seed)?;
        let missing: Vec<_> = case.finds.difference(&run.places).collect();
        let more: Vec<_> =
            run.places.iter().filter(|place| !case.finds.contains(*place) && !case.may_find.contains(*place)).collect();
        ensure(missing.is_empty() && more.is_empty(), || {
            format!("missing {missing:?}, wrong {more:?} in{}", told(&run.found))
        })
    });
}

#[test]
fn nothing_is_found_in_correct_kernels() {
    for_all(|case, seed| {
        let run = run(case, "ok", seed)?;
        ensure(run.places.is_empty(), || format!("found{}", told(&run.found)))
    });
}

#[test]
fn correct_kernels_compute_the_same_under_every_schedule() {
    for_all(|case, seed| {
        let (one, other) = (run(case, "ok", 0)?, run(case, "ok", seed)?);
        ensure(one.contents == other.contents, || "buffers differ from those under seed 0".to_string())
    });
}

#[test]
fn counters_tell_the_costs_apart() {
    for_all(|case, seed| {
        if case.counts.is_empty() {
            return Ok(());
        }
        let (bug, ok) = (run(case, "bug", seed)?.counters, run(case, "ok", seed)?.counters);
        case.counts.iter().try_for_each(|(name, expected)| {
            let (cost, none) = (counter(&bug, name), counter(&ok, name));
            ensure(cost == *expected && none == 0, || format!("{name} is {cost}, not {expected}, or {none}, not 0"))
        })
    });
}
