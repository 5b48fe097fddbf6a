// One matrix of at most 4 x 4 for each invocation, in registers: every column is a vector, padded with zeros. What a workgroup reads
// and writes passes through its memory, so that neighbours take neighbouring values.
//
// Header: LENGTH and WIDTH (longer and shorter side), LONG (long vectors, at least WIDTH), THREADS, SWEEPS, arrays u and vh, the text of
// turn.wgsl.

struct Params { count: u32, a_shift: u32, s_shift: u32, u_shift: u32, vh_shift: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;

// An odd number of values for each matrix spreads them over the banks of the memory.
const ROW: u32 = (LENGTH * LONG) | 1u;
var<workgroup> shared_values: array<f32, THREADS * ROW>;

// Value i of matrices of so many each.
fn put_shared(i: u32, each: u32, x: f32) {
    shared_values[i / each * ROW + i % each] = x;
}
fn shared_at(i: u32, each: u32) -> f32 {
    return shared_values[i / each * ROW + i % each];
}

fn value(x: f32, finite: bool) -> f32 {
    return select(bitcast<f32>(params.nan), x, finite);
}

fn unit(axis: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(axis));
}

// -1 where the sign rule turns the vector round, else 1.
fn sign_of(x: vec4<f32>) -> f32 {
    let size = abs(x);
    let equal = 0.999 * max(max(size.x, size.y), max(size.z, size.w));
    var first = x.w;
    if (size.z >= equal) { first = x.z; }
    if (size.y >= equal) { first = x.y; }
    if (size.x >= equal) { first = x.x; }
    return select(1.0, -1.0, first < 0.0);
}

fn turned_columns(turn: Turn, x: vec4<f32>, y: vec4<f32>) -> mat2x4<f32> {
    let long = select(x, y, turn.swap);
    let short = select(y, x, turn.swap);
    return mat2x4<f32>(
        fma(vec4<f32>(turn.sine), fma(vec4<f32>(-turn.half), long, short), long),
        fma(vec4<f32>(-turn.sine), fma(vec4<f32>(turn.half), short, long), short));
}
