//! What Apple's compiler and GPUs are known to get wrong or not to have, looked for in every kernel.
//!
//! Most of it can be told from naga's form of the kernel, from which the Metal text is written word by word; the rest is
//! looked for in the text.

use super::translate::Parsed;
use naga::valid::FunctionInfo;
use naga::{
    AddressSpace, Expression, Function, FunctionArgument, Handle, MathFunction, Module, Statement, TypeInner,
};
use regex::Regex;
use std::sync::LazyLock;
use steropes_tensor::Capabilities;

/// Values above this size are not passed by value or kept in a thread's own memory: Metal's compiler fails on them or
/// spills them.
const LARGEST_VALUE: u32 = 8 << 10;

/// Words of `var<immediate>`, what every interface has.
const MOST_IMMEDIATES: u32 = 128;

/// The traps that a kernel falls into on a device, one line each.
pub(crate) fn find(parsed: &Parsed, metal: &str, device: &Capabilities) -> Vec<String> {
    let mut found = Vec::new();
    sizes(parsed, device, &mut found);
    let module = &parsed.module;
    let functions = module.functions.iter().map(|(handle, f)| (f, &parsed.info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(i, e)| (&e.function, parsed.info.get_entry_point(i)));
    for (function, info) in functions.chain(entries) {
        Walk { module, function, info, found: &mut found }.function();
    }
    in_text(metal, &mut found);
    found.sort();
    found.dedup();
    found
}

/// Limits on memory and threads.
fn sizes(parsed: &Parsed, device: &Capabilities, found: &mut Vec<String>) {
    let module = &parsed.module;
    let bytes = |ty: Handle<naga::Type>| module.types[ty].inner.size(module.to_ctx());
    for (i, entry) in module.entry_points.iter().enumerate() {
        let used = |handle: Handle<naga::GlobalVariable>| !parsed.info.get_entry_point(i)[handle].is_empty();
        // wgpu rounds every variable up to 16 bytes.
        let workgroup: u32 = module
            .global_variables
            .iter()
            .filter(|&(handle, var)| var.space == AddressSpace::WorkGroup && used(handle))
            .map(|(_, var)| bytes(var.ty).next_multiple_of(16))
            .sum();
        if workgroup > device.workgroup_bytes {
            found
                .push(format!("{workgroup} bytes of workgroup memory, there are {}", device.workgroup_bytes));
        }
        let threads: u32 = entry.workgroup_size.iter().product();
        if threads > device.workgroup_threads {
            found.push(format!("{threads} invocations in a workgroup, at most {}", device.workgroup_threads));
        }
    }
    for (_, var) in module.global_variables.iter() {
        if var.space == AddressSpace::Immediate && bytes(var.ty) > MOST_IMMEDIATES {
            found.push(format!("{} bytes of immediate data, at most {MOST_IMMEDIATES}", bytes(var.ty)));
        }
        if var.space == AddressSpace::Private && bytes(var.ty) >= LARGEST_VALUE {
            found.push(format!("a private variable of {} bytes", bytes(var.ty)));
        }
    }
}

/// What shows in the text alone.
fn in_text(metal: &str, found: &mut Vec<String>) {
    static ZEROED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"if \((?:metal::all\()?\w+ == (?:metal::uint3\()?0u\)+ \{\s+\w+ = \{\};")
            .expect("a regex")
    });
    let words = [
        ("16x16", "a simdgroup matrix of 16x16; Metal has 8x8 alone"),
        ("unpack_snorm2x16", "unpack2x16snorm, which is compiled wrongly on M3 and later"),
        ("unpack_unorm2x16", "unpack2x16unorm, which is compiled wrongly on M3 and later"),
        ("INFINITY", "an infinite number, which Metal's arithmetic may not keep"),
        ("NAN", "a NaN, which Metal's arithmetic may not keep"),
    ];
    found.extend(words.iter().filter(|(word, _)| metal.contains(word)).map(|(_, what)| (*what).to_owned()));
    if ZEROED.is_match(metal) {
        found.push("workgroup memory that one thread sets to zero".to_owned());
    }
}

/// One function on the way through its statements.
struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
    found: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn function(mut self) {
        let bytes = |ty: Handle<naga::Type>| self.module.types[ty].inner.size(self.module.to_ctx());
        let pointer =
            |argument: &&FunctionArgument| self.module.types[argument.ty].inner.pointer_space().is_none();
        let arguments = self.function.arguments.iter().filter(pointer).map(|a| bytes(a.ty));
        let result = self.function.result.iter().map(|r| bytes(r.ty));
        for size in arguments.chain(result).filter(|&size| size >= LARGEST_VALUE) {
            self.found.push(format!("an argument or result of {size} bytes"));
        }
        for size in
            self.function.local_variables.iter().map(|(_, v)| bytes(v.ty)).filter(|&s| s >= LARGEST_VALUE)
        {
            self.found.push(format!("a local variable of {size} bytes"));
        }
        for (_, expression) in self.function.expressions.iter() {
            self.expression(expression);
        }
        let body = &self.function.body;
        self.block(body, false);
    }

    fn inner(&self, expression: Handle<Expression>) -> &TypeInner {
        self.info[expression].ty.inner_with(&self.module.types)
    }

    fn expression(&mut self, expression: &Expression) {
        let matrix = |e: &Handle<Expression>| matches!(self.inner(*e), TypeInner::CooperativeMatrix { .. });
        match expression {
            Expression::Binary { left, right, .. } if matrix(left) || matrix(right) => {
                self.found.push("an operator on a simdgroup matrix, which Metal has not".to_owned());
            }
            Expression::Unary { expr, .. } if matrix(expr) => {
                self.found.push("an operator on a simdgroup matrix, which Metal has not".to_owned());
            }
            Expression::Math {
                fun: MathFunction::Unpack2x16snorm | MathFunction::Unpack2x16unorm, ..
            } => {
                self.found.push("unpack2x16, which is compiled wrongly on M3 and later".to_owned());
            }
            _ => {}
        }
    }

    /// `under_switch`: whether a `switch` decides about this block.
    fn block(&mut self, block: &naga::Block, under_switch: bool) {
        for statement in block {
            if under_switch && self.meets(statement) {
                self.found.push(
                    "a subgroup function or barrier under `switch`, which is compiled wrongly".to_owned(),
                );
            }
            match statement {
                Statement::Block(inner) => self.block(inner, under_switch),
                Statement::If { accept, reject, .. } => {
                    self.block(accept, under_switch);
                    self.block(reject, under_switch);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(body, under_switch);
                    self.block(continuing, under_switch);
                }
                Statement::Switch { cases, .. } => cases.iter().for_each(|case| self.block(&case.body, true)),
                Statement::SubgroupCollectiveOperation { argument, .. }
                    if matches!(self.inner(*argument), TypeInner::Vector { .. }) =>
                {
                    self.found.push("a vector given to simd_sum or its like, which take scalars".to_owned());
                }
                Statement::WorkGroupUniformLoad { .. } => {
                    self.found.push("workgroupUniformLoad, which is not uniform on Metal".to_owned());
                }
                _ => {}
            }
        }
    }

    /// Whether a statement, or a function that it calls, makes invocations wait for each other.
    fn meets(&self, statement: &Statement) -> bool {
        match statement {
            Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. }
            | Statement::CooperativeStore { .. }
            | Statement::ControlBarrier(_) => true,
            Statement::Call { function, .. } => {
                calls_that_meet(self.module, &self.module.functions[*function].body)
            }
            _ => false,
        }
    }
}

fn calls_that_meet(module: &Module, block: &naga::Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::SubgroupBallot { .. }
        | Statement::SubgroupGather { .. }
        | Statement::SubgroupCollectiveOperation { .. }
        | Statement::CooperativeStore { .. }
        | Statement::ControlBarrier(_) => true,
        Statement::Call { function, .. } => calls_that_meet(module, &module.functions[*function].body),
        Statement::Block(inner) => calls_that_meet(module, inner),
        Statement::If { accept, reject, .. } => {
            calls_that_meet(module, accept) || calls_that_meet(module, reject)
        }
        Statement::Loop { body, continuing, .. } => {
            calls_that_meet(module, body) || calls_that_meet(module, continuing)
        }
        Statement::Switch { cases, .. } => cases.iter().any(|case| calls_that_meet(module, &case.body)),
        _ => false,
    })
}
