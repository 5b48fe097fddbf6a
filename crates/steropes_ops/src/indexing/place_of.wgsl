// An invocation for each number: the offset of the element that it names.
//
// Header: base_of, index_at, index_is_below, index_place.

struct Params {
    e1: u32, e2: u32, e3: u32, s0: u32, s1: u32, s2: u32, s3: u32, stride: u32, extent: u32,
    count: u32, first: u32, none: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> places: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at >= params.count) {
        return;
    }
    let number = index_at(index_place(at));
    places[at] = select(params.none, base_of(at) + number.x * params.stride, index_is_below(number, params.extent));
}
