//! The stand-in must do what a GPU does, and must notice what a GPU does not survive.

use super::backend::StandIn;
use super::profile::PROFILES;
use super::translate;
use super::traps;
use steropes_tensor::{Binding, Gpu, Header, Kernel};

fn trap_list(body: &str) -> Vec<String> {
    let device = &PROFILES[0].capabilities;
    let parsed = translate::parse(body, device).expect("the text is right for naga");
    let metal = translate::metal(&parsed, (3, 1)).expect("naga writes it");
    traps::find(&parsed, &metal.text, device)
}

const ARRAYS: &str = "enable f16;\nenable wgpu_cooperative_matrix;\n\
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;\n";

fn expect_trap(body: &str, what: &str) {
    let found = trap_list(&format!("{ARRAYS}{body}"));
    assert!(found.iter().any(|f| f.contains(what)), "no `{what}` among {found:?}");
}

#[test]
fn every_trap_is_found() {
    let main = "@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) t: u32) ";
    expect_trap(&format!("{main} {{ var m: coop_mat16x16<f32, C>; coopStoreT(m, &x[0], 16u); }}"), "16x16");
    expect_trap(
        &format!(
            "{main} {{ let m = coopLoadT<coop_mat8x8<f32, C>>(&x[0], 8u); let n = m + m; coopStoreT(n, &x[0], 8u); }}"
        ),
        "an operator on a simdgroup matrix",
    );
    expect_trap(
        &format!("var<workgroup> w: array<f32, 8200>; {main} {{ w[t] = 1.0; x[t] = w[t]; }}"),
        "32800 bytes",
    );
    expect_trap(
        &format!(
            "fn f(a: array<f32, 2048>) -> f32 {{ return a[3]; }} {main} {{ var a: array<f32, 2048>; x[t] = f(a); }}"
        ),
        "an argument or result of 8192 bytes",
    );
    expect_trap(
        &format!("{main} {{ switch (t) {{ case 0u: {{ x[t] = subgroupAdd(1.0); }} default: {{}} }} }}"),
        "switch",
    );
    expect_trap(
        &format!(
            "fn f() -> f32 {{ return subgroupAdd(1.0); }} {main} {{ switch (t) {{ case 0u: {{ x[t] = f(); }} default: {{}} }} }}"
        ),
        "switch",
    );
    expect_trap(&format!("{main} {{ x[t] = subgroupAdd(vec2(1.0, 2.0)).x; }}"), "a vector given");
    expect_trap(&format!("{main} {{ x[t] = unpack2x16snorm(t).x; }}"), "unpack2x16");
    expect_trap(&format!("{main} {{ x[t] = unpack2x16unorm(t).x; }}"), "unpack2x16");
    expect_trap(
        &format!(
            "var<workgroup> w: u32; {main} {{ w = t; let u = workgroupUniformLoad(&w); x[t] = f32(u); }}"
        ),
        "workgroupUniformLoad",
    );
    expect_trap("@compute @workgroup_size(2048) fn main() { x[0] = 1.0; }", "2048 invocations");
}

#[test]
fn a_kernel_without_traps_has_none() {
    let found = trap_list(
        "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\nvar<workgroup> w: array<f32, 64>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) t: u32) {\n\
         w[t] = x[t]; workgroupBarrier(); x[t] = w[63u - t] + subgroupAdd(1.0); }",
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn memory_that_one_thread_sets_to_zero_is_noticed_in_the_text() {
    let device = &PROFILES[0].capabilities;
    let body = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\nvar<workgroup> w: array<f32, 64>;\n\
        @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) t: u32) { w[t] = x[t]; x[t] = w[t]; }";
    let parsed = translate::parse(body, device).expect("right");
    let zeroed = "kernel void main_() {\n    if (t == 0u) {\n        w = {};\n    }\n";
    assert!(traps::find(&parsed, zeroed, device).iter().any(|f| f.contains("one thread sets to zero")));
    let zeroed = "    if (metal::all(id == metal::uint3(0u))) {\n        w = {};\n    }\n";
    assert!(traps::find(&parsed, zeroed, device).iter().any(|f| f.contains("one thread sets to zero")));
}

/// A stand-in for an Apple GPU, if this computer has a compiler for it.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tested")]
fn apple() -> Option<(tempfile::TempDir, StandIn, Gpu)> {
    let folder = tempfile::tempdir().expect("a folder");
    match StandIn::new(&PROFILES[0], folder.path()) {
        Ok(stand_in) => {
            let gpu = Gpu::new(Box::new(stand_in.clone()));
            stand_in.begin(1_000_000);
            Some((folder, stand_in, gpu))
        }
        Err(error) => {
            eprintln!("Metal text is not executed: {error:#}");
            None
        }
    }
}

/// Runs a kernel over `x`, which it changes.
fn run(gpu: &Gpu, body: &str, x: &mut [f32], groups: u32) -> Result<(), String> {
    let memory = gpu.allocate("test", 4 * x.len() as u64).map_err(|e| e.to_string())?;
    gpu.upload(&memory, bytemuck::cast_slice(x)).map_err(|e| e.to_string())?;
    let kernel = Kernel::new("test", &Header::new(), body);
    let binding = Binding { memory: &memory, offset: 0, bytes: 4 * x.len() as u64 };
    gpu.launch(&kernel, &[binding], &[], [groups, 1, 1]).map_err(|e| e.to_string())?;
    let bytes = gpu.read(&memory, 4 * x.len() as u64).map_err(|e| e.to_string())?;
    bytemuck::cast_slice_mut::<f32, u8>(x).copy_from_slice(&bytes);
    Ok(())
}

const HEAD: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\nvar<workgroup> w: array<f32, 64>;\n\
    @compute @workgroup_size(64)\nfn main(@builtin(workgroup_id) g: vec3<u32>, @builtin(local_invocation_index) t: u32) {\n\
    let i = g.x * 64u + t;\n";

#[test]
fn threads_meet_and_a_missing_barrier_shows() {
    let Some((_folder, _, gpu)) = apple() else { return };
    let body = |barrier: &str| format!("{HEAD} w[t] = x[i]; {barrier} x[i] = w[63u - t]; }}");
    let before: Vec<f32> = (0..128).map(|i| i as f32).collect();
    let want: Vec<f32> = (0..128).map(|i| (i / 64 * 64 + 63 - i % 64) as f32).collect();
    let mut x = before.clone();
    run(&gpu, &body("workgroupBarrier();"), &mut x, 2).expect("it runs");
    assert_eq!(x, want);
    let mut x = before;
    run(&gpu, &body(""), &mut x, 2).expect("it runs");
    assert_ne!(x[..64], want[..64]);
    assert_ne!(x[64..], want[64..]);
}

#[test]
fn subgroup_functions_see_32_lanes() {
    let Some((_folder, _, gpu)) = apple() else { return };
    let body = format!(
        "{HEAD} let v = x[i]; x[i] = subgroupAdd(v) + 1000.0 * subgroupShuffleXor(v, 1u) + 0.25 * subgroupMax(v) \
         + subgroupExclusiveAdd(1.0) * 100000.0; }}"
    );
    let mut x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    run(&gpu, &body, &mut x, 1).expect("it runs");
    let want = |i: u32| {
        let (first, lane) = (i / 32 * 32, i % 32);
        let sum: u32 = (first..first + 32).sum();
        sum as f32 + 1000.0 * (i ^ 1) as f32 + 0.25 * (first + 31) as f32 + lane as f32 * 100_000.0
    };
    assert_eq!(x, (0..64).map(want).collect::<Vec<_>>());
}

#[test]
fn matrices_multiply() {
    let Some((_folder, _, gpu)) = apple() else { return };
    let body = "enable wgpu_cooperative_matrix;\n@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n\
        @compute @workgroup_size(32) fn main() {\n\
        let a = coopLoadT<coop_mat8x8<f32, A>>(&x[0], 8u);\nlet b = coopLoadT<coop_mat8x8<f32, B>>(&x[64], 8u);\n\
        var c = coopLoadT<coop_mat8x8<f32, C>>(&x[128], 8u);\nc = coopMultiplyAdd(a, b, c);\n\
        coopStoreT(c, &x[128], 8u);\n}";
    let mut x: Vec<f32> = (0..192).map(|i| ((i * 7) % 11) as f32).collect();
    let before = x.clone();
    run(&gpu, body, &mut x, 1).expect("it runs");
    for (r, c) in (0..8).flat_map(|r| (0..8).map(move |c| (r, c))) {
        let sum: f32 = (0..8).map(|k| before[r * 8 + k] * before[64 + k * 8 + c]).sum();
        assert_eq!(x[128 + r * 8 + c], before[128 + r * 8 + c] + sum, "row {r} column {c}");
    }
}

#[test]
fn what_a_gpu_does_not_survive_is_an_error() {
    let Some((_folder, stand_in, gpu)) = apple() else { return };
    let mut x = vec![0.0; 64];
    let left = run(
        &gpu,
        &format!("{HEAD} if (x[i] == 0.0 && t < 7u) {{ return; }} workgroupBarrier(); x[i] = 1.0; }}"),
        &mut x,
        1,
    );
    assert!(left.as_ref().is_err_and(|e| e.contains("that do not come there")), "{left:?}");
    let behind = run(&gpu, &format!("{HEAD} x[i + 64u] = 1.0; }}"), &mut x, 1);
    assert!(behind.as_ref().is_err_and(|e| e.contains("behind the end of binding 0")), "{behind:?}");
    stand_in.begin(1_000_000);
    run(&gpu, &format!("{HEAD} while (x[i] < 1.0) {{ x[i] = 0.5; }} }}"), &mut x, 1).expect("it is stopped");
    assert!(stand_in.end().over_limit);
}
