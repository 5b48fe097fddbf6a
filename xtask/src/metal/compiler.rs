//! Metal text compiled by clang for the CPU, against the stand-in for Metal's standard library.

use super::profile::PROFILES;
use super::translate::{self, MetalText, Parsed};
use anyhow::{Context as _, bail};
use regex::{Captures, Regex};
use sha2::{Digest as _, Sha256};
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const LIBRARY: [(&str, &str); 3] = [
    ("metal_stdlib", include_str!("stand_in/metal_stdlib")),
    ("threads.h", include_str!("stand_in/threads.h")),
    ("simd/simd.h", include_str!("stand_in/simd/simd.h")),
];

const FLAGS: [&str; 11] = [
    "-std=c++17",
    "-O1",
    "-w",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
];

/// Metal lets the compiler reorder sums and leave out tests for NaN, so clang may too.
const FAST_MATH: [&str; 4] =
    ["-fno-signed-zeros", "-ffinite-math-only", "-fassociative-math", "-freciprocal-math"];

/// What vectors and f16 need on this processor.
const MACHINE_FLAGS: &[&str] =
    if cfg!(target_arch = "x86_64") { &["-mavx2", "-mfma", "-mf16c"] } else { &[] };

/// A clang that knows f16, and the folder of what it made.
pub(crate) struct Compiler {
    clang: &'static str,
    /// Named after what all libraries depend on: compiler, flags, stand-in.
    folder: PathBuf,
    /// The stand-in as clang keeps it, which takes longer to read as text than a small kernel.
    stand_in: PathBuf,
    /// The same without fast math.
    exact_stand_in: PathBuf,
}

impl Compiler {
    /// The first clang of this machine that compiles `_Float16`; libraries are kept in `folder`.
    ///
    /// # Errors
    /// There is none, or the folder cannot be written.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        const NAMES: [&str; 6] = ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15"];
        let made = |path: &Path| {
            std::fs::create_dir_all(path).with_context(|| format!("making `{}`", path.display()))
        };
        made(folder)?;
        let probe = folder.join(format!("probe.{}.cpp", std::process::id()));
        std::fs::write(&probe, "_Float16 f(_Float16 a) { return a * a; }\n")?;
        let works = |name: &&&str| {
            let mut command = Command::new(name);
            command.args(FLAGS).args(MACHINE_FLAGS).arg("-c").arg(&probe).args(["-o", "/dev/null"]);
            command.output().is_ok_and(|output| output.status.success())
        };
        let found = NAMES.iter().find(works);
        std::fs::remove_file(&probe)?;
        let Some(clang) = found else {
            bail!(
                "no clang here compiles `_Float16` (looked for {}): install clang 15 or later",
                NAMES.join(", ")
            )
        };
        let version = Command::new(clang).arg("--version").output()?.stdout;
        let mut hash = Sha256::new();
        hash.update(version);
        FLAGS.iter().chain(&FAST_MATH).chain(MACHINE_FLAGS).for_each(|flag| hash.update(flag));
        LIBRARY.iter().for_each(|(_, text)| hash.update(text));
        // Each version has a folder of its own, because clang looks at the time of the files behind `stand_in`.
        let folder = folder.join(hex(&hash.finalize()));
        made(&folder.join("simd"))?;
        for (name, text) in LIBRARY {
            let path = folder.join(name);
            if !path.exists() {
                write_whole(&path, text.as_bytes())?;
            }
        }
        let [stand_in, exact_stand_in] = ["stand_in.pch", "exact.pch"].map(|name| folder.join(name));
        let compiler = Self { clang, folder, stand_in, exact_stand_in };
        for (to, math) in [(&compiler.stand_in, &FAST_MATH[..]), (&compiler.exact_stand_in, &[])] {
            if !to.exists() {
                let flags = [math, &["-x", "c++-header"]].concat();
                compiler.run_clang(&flags, &compiler.folder.join(LIBRARY[0].0), to)?;
            }
        }
        Ok(compiler)
    }

    /// The kernel as a function of this process.
    ///
    /// # Errors
    /// What clang says about the text, or why it could not be loaded.
    pub(crate) fn compile(&self, parsed: &Parsed, metal: &MetalText) -> anyhow::Result<Compiled> {
        let source = source(parsed, metal)?;
        let name = hex(&Sha256::digest(&source));
        let library = self.folder.join(format!("{name}.so"));
        if !library.exists() {
            let text = self.folder.join(format!("{name}.cpp"));
            write_whole(&text, source.as_bytes())?;
            let stand_in = self.stand_in.to_string_lossy();
            let flags = ["-shared", "-lm", "-x", "c++", "-include-pch", &stand_in];
            self.run_clang(&[&FAST_MATH[..], &flags].concat(), &text, &library)?;
        }
        Compiled::load(&library)
    }

    /// The instructions that clang makes of a kernel without fast math, to see whether two texts are the same to it.
    ///
    /// # Errors
    /// What naga or clang says about the text.
    pub(crate) fn instructions_of(&self, text: &str) -> anyhow::Result<String> {
        let parsed = translate::parse(text, &PROFILES[0].capabilities).map_err(anyhow::Error::msg)?;
        let metal = translate::metal(&parsed, (3, 1)).map_err(anyhow::Error::msg)?;
        let path = self.folder.join(format!("compared.{}.cpp", std::process::id()));
        let instructions = path.with_extension("s");
        write_whole(&path, source(&parsed, &metal)?.as_bytes())?;
        let stand_in = self.exact_stand_in.to_string_lossy();
        self.run_clang(&["-S", "-x", "c++", "-include-pch", &stand_in], &path, &instructions)?;
        Ok(std::fs::read_to_string(&instructions)?)
    }

    /// Compiles `from` into `to`, which appears when it is whole.
    fn run_clang(&self, flags: &[&str], from: &Path, to: &Path) -> anyhow::Result<()> {
        let part = to.with_extension(format!("{}.part", std::process::id()));
        let mut command = Command::new(self.clang);
        command.args(FLAGS).args(MACHINE_FLAGS).args(flags).arg("-I").arg(&self.folder);
        let output = command.arg(from).arg("-o").arg(&part).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let error = said.lines().find(|line| line.contains("error")).unwrap_or("it failed");
            bail!("clang: {error}");
        }
        std::fs::rename(&part, to)?;
        Ok(())
    }
}

/// Writes beside and renames, because two processes may do it at once.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&part, bytes).with_context(|| format!("writing `{}`", part.display()))?;
    std::fs::rename(&part, path)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// The Metal text with what C++ lacks written out, and an entry for the stand-in behind it.
fn source(parsed: &Parsed, metal: &MetalText) -> anyhow::Result<String> {
    let arguments = arguments(metal)?;
    let workgroup = arguments.iter().filter_map(|a| match a {
        Argument::Workgroup(wgsl_type) => Some(wgsl_type.as_str()),
        Argument::Value(_) => None,
    });
    let workgroup: Vec<&str> = workgroup.collect();
    let mut declared = String::new();
    let mut poison = String::new();
    for (i, wgsl_type) in workgroup.iter().enumerate() {
        declared += &format!("alignas(16) static unsigned char workgroup_{i}[sizeof({wgsl_type})];\n");
        poison += &format!("  memset(workgroup_{i}, 0x7f, sizeof workgroup_{i});\n");
    }
    let mut number = 0;
    let values: Vec<String> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Value(value) => value.clone(),
            Argument::Workgroup(wgsl_type) => {
                number += 1;
                format!("*({wgsl_type}*)workgroup_{}", number - 1)
            }
        })
        .collect();
    let [x, y, z] = parsed.module.entry_points[0].workgroup_size;
    Ok(format!(
        "{}\n}}\n{declared}static void poison() {{\n{poison}}}\nstatic void entry() {{ {}({}); }}\n\
         extern \"C\" __attribute__((visibility(\"default\"))) int stand_in_run(stand_in::Launch* launch) {{\n  \
         launch->threads[0] = {x}, launch->threads[1] = {y}, launch->threads[2] = {z};\n  \
         return stand_in::run(launch, entry, poison);\n}}\n",
        as_cpp(&metal.text),
        metal.entry,
        values.join(", ")
    ))
}

/// An argument of the entry point.
enum Argument {
    /// Its value as C++.
    Value(String),
    /// Workgroup memory of a type.
    Workgroup(String),
}

fn arguments(metal: &MetalText) -> anyhow::Result<Vec<Argument>> {
    let head = format!("kernel void {}(", metal.entry);
    let from = metal.text.find(&head).context("the Metal text has no entry point")? + head.len();
    let to = from + metal.text[from..].find(") {").context("the entry point has no body")?;
    metal.text[from..to]
        .lines()
        .map(|line| line.trim_start_matches([',', ' ']))
        .filter(|line| !line.is_empty())
        .map(argument)
        .collect()
}

fn argument(line: &str) -> anyhow::Result<Argument> {
    let (declaration, attribute) = match line.split_once("[[") {
        Some((declaration, attribute)) => (declaration.trim(), attribute.trim_end_matches("]]").trim()),
        None => (line.trim(), ""),
    };
    if let Some(slot) = attribute.strip_prefix("buffer(").and_then(|rest| rest.strip_suffix(')')) {
        // `device TYPE const& NAME`, `constant TYPE& NAME`
        let wgsl_type =
            declaration.split_whitespace().nth(1).context("a buffer has a type")?.trim_end_matches('&');
        return Ok(Argument::Value(format!("*({wgsl_type}*)stand_in::machine.launch->buffers[{slot}]")));
    }
    if attribute.is_empty() && declaration.starts_with("threadgroup ") {
        let wgsl_type =
            declaration.split_whitespace().nth(1).context("a variable has a type")?.trim_end_matches('&');
        return Ok(Argument::Workgroup(wgsl_type.to_owned()));
    }
    let value = match attribute {
        "threadgroup_position_in_grid" => "stand_in::group_position()",
        "thread_position_in_grid" => {
            "stand_in::group_position() * stand_in::group_size() + stand_in::thread_position()"
        }
        "thread_position_in_threadgroup" => "stand_in::thread_position()",
        "thread_index_in_threadgroup" => "stand_in::machine.current->index",
        "threadgroups_per_grid" => "stand_in::groups()",
        "dispatch_threads_per_threadgroup" | "threads_per_threadgroup" => "stand_in::group_size()",
        "simdgroup_index_in_threadgroup" => "stand_in::machine.current->simdgroup",
        "thread_index_in_simdgroup" => "stand_in::machine.current->lane",
        "threads_per_simdgroup" => "stand_in::SIMD",
        "simdgroups_per_threadgroup" => "(stand_in::machine.count + stand_in::SIMD - 1) / stand_in::SIMD",
        _ => bail!("the stand-in knows no argument like `{line}`"),
    };
    Ok(Argument::Value(value.to_owned()))
}

/// Metal text with what C++ lacks written out: constructors of vectors, literals of f32 and f16, overloads that differ in
/// the address space alone, and a step counter in every loop.
fn as_cpp(metal: &str) -> String {
    static VECTOR_NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"typedef (?:metal::)?((?:float|half|int|uint|short|ushort|bool)[234]) (\w+);")
            .expect("a regex")
    });
    static FLOAT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+\.\d+|\d+h|\d+\.\d+h)(h?)\b").expect("a regex"));
    static LOADER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?ms)^[^\n]*NagaCooperative(?:Load|MultiplyAdd)\([^\n]*\{\n.*?^\}\n").expect("a regex")
    });
    static SPACE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(?:device|threadgroup|constant|thread) ").expect("a regex"));

    let mut names = r"float[234]|half[234]|int[234]|uint[234]|short[234]|ushort[234]|bool[234]".to_owned();
    let aliases: Vec<(&str, &str)> =
        VECTOR_NAME.captures_iter(metal).map(|c| c.extract()).map(|(_, [of, name])| (name, of)).collect();
    aliases.iter().for_each(|(name, _)| names += &format!("|{}", regex::escape(name)));
    let vector = |name: &str| {
        aliases.iter().find(|(alias, _)| *alias == name).map_or(name.to_owned(), |a| a.1.to_owned())
    };
    let call = Regex::new(&format!(r"\b(?:static_cast<(?:metal::)?({names})>|(?:metal::)?\b({names}))\("))
        .expect("a regex");

    let mut seen = std::collections::HashSet::new();
    let text = LOADER.replace_all(metal, |c: &Captures<'_>| {
        if seen.insert(SPACE.replace_all(&c[0], "").into_owned()) { c[0].to_owned() } else { String::new() }
    });
    let text = call.replace_all(&text, |c: &Captures<'_>| {
        let name = c.get(1).or(c.get(2)).expect("one of the two forms matched").as_str();
        format!("metal::make_{}(", vector(name))
    });
    let text = FLOAT.replace_all(&text, |c: &Captures<'_>| match c[0].strip_suffix('h') {
        Some(number) if number.contains('.') => format!("(half){number}f"),
        Some(number) => format!("(half){number}.0f"),
        None => format!("{}f", &c[0]),
    });
    let text = text.replace("while(true) {", "while(stand_in::step()) {");
    // What the kernel does not call is left out.
    text.replacen("#include <simd/simd.h>\n", "#include <simd/simd.h>\nnamespace {\n", 1)
}

/// What a kernel gets; the same structure stands in `stand_in/threads.h`.
#[repr(C)]
pub(crate) struct Launch {
    pub(crate) groups: [u32; 3],
    threads: [u32; 3],
    buffers: *const *mut c_void,
    limit: u64,
    steps: u64,
    message: [c_char; 256],
}

/// How a launch ended.
pub(crate) enum End {
    /// All threads ran to their end.
    Finished,
    /// It took more steps than allowed.
    OverLimit,
    /// It did what a GPU does not survive.
    Broken(String),
}

/// A kernel that can run.
pub(crate) struct Compiled {
    library: libloading::Library,
}

impl Compiled {
    fn load(path: &Path) -> anyhow::Result<Self> {
        // SAFETY: the library was made by `Compiler`; it runs nothing when it is loaded.
        let library =
            unsafe { libloading::Library::new(path) }.with_context(|| path.display().to_string())?;
        Ok(Self { library })
    }

    /// Runs `groups` workgroups over `buffers` (by slot), at most `limit` steps; the steps that it took.
    ///
    /// # Errors
    /// The library has no kernel.
    pub(crate) fn run(
        &self,
        groups: [u32; 3],
        buffers: &[*mut c_void],
        limit: u64,
    ) -> anyhow::Result<(End, u64)> {
        let buffers = buffers.as_ptr();
        let mut launch = Launch { groups, threads: [0; 3], buffers, limit, steps: 0, message: [0; 256] };
        // SAFETY: `source` writes this function with this type.
        let run = unsafe { self.library.get::<unsafe extern "C" fn(*mut Launch) -> c_int>(b"stand_in_run") }?;
        // SAFETY: the kernel reads and writes what the slots point to; kernels that leave their arrays are what this whole
        // check is there to find, and it runs in a process of its own.
        let status = unsafe { run(&raw mut launch) };
        let end = match status {
            0 => End::Finished,
            1 => End::OverLimit,
            _ => End::Broken(
                launch.message.iter().take_while(|&&c| c != 0).map(|&c| c as u8 as char).collect(),
            ),
        };
        Ok((end, launch.steps))
    }
}
