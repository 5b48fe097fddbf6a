// One invocation for each pixel, which reads its own sums and those of its anchor.
//
// Header: THREADS, AVERAGE_ANGLE, angle.wgsl.

struct Params { count: u32, width: u32, subsample: u32, zero: u32, pairs: f32, first_sum: u32, first_word: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> view: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let block = vec2<u32>(i % params.width, i / params.width) / params.subsample * params.subsample;
    let anchor = block + params.subsample / 2u;
    let weighted = sums[params.first_sum + 2u * i];
    let others = sums[params.first_sum + 2u * i + 1u];
    let mean = weighted.yzw / weighted.x;
    var relative = others.y / weighted.x;
    if (AVERAGE_ANGLE) {
        let at_anchor = sums[params.first_sum + 2u * (anchor.y * params.width + anchor.x)];
        let rise = others.z / params.pairs * tangent(relative, params.zero);
        relative = 1.0 + rise / (at_anchor.w / at_anchor.x);
    }
    let at = params.first_word + 6u * i;
    view[at] = mean.x;
    view[at + 1u] = mean.y;
    view[at + 2u] = mean.z;
    view[at + 3u] = relative;
    view[at + 4u] = others.x / weighted.x;
    view[at + 5u] = others.w;
}
