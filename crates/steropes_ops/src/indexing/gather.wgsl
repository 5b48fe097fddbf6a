// An invocation for each element of the result. The binding of x holds a part of it; a launch writes what it finds there, the first
// one also what has an index out of its range.
//
// Header: Elem; base_of, index_at, index_is_below, index_place.

struct Params {
    e1: u32, e2: u32, e3: u32, s0: u32, s1: u32, s2: u32, s3: u32, stride: u32, extent: u32,
    count: u32, first: u32, source_first: u32, source_count: u32, nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.count) {
        return;
    }
    let number = index_at(index_place(params.first + at));
    if (!index_is_below(number, params.extent)) {
        if (params.source_first == 0u) {
            y[at] = Elem(bitcast<f32>(params.nan));
        }
        return;
    }
    let source = base_of(params.first + at) + number.x * params.stride;
    if (source >= params.source_first && source - params.source_first < params.source_count) {
        y[at] = x[source - params.source_first];
    }
}
