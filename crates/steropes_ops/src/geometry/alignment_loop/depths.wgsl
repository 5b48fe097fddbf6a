// One workgroup per block of anchors of one image, one invocation per anchor: adds up the segments of the anchor in a fixed
// order, moves its depth by a step of Adam, and adds up over the block what the image's size and distance need.
//
// Header: THREADS, DECAY, EPSILON; view.wgsl.

struct Params { blocks: u32, anchors: u32, apply: u32, rate: f32, root: f32 }
var<immediate> params: Params;
// Image, first anchor, number of anchors.
@group(0) @binding(0) var<storage, read> blocks: array<vec4<u32>>;
// Where the segments of every anchor start and end, then their numbers.
@group(0) @binding(1) var<storage, read> links: array<u32>;
@group(0) @binding(2) var<storage, read> segments: array<f32>;
@group(0) @binding(3) var<storage, read> views: array<f32>;
@group(0) @binding(4) var<storage, read_write> depths: array<f32>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec2<f32>>;
// Depth before the step, and the derivative by the relative depth.
@group(0) @binding(6) var<storage, read_write> results: array<vec2<f32>>;
// Per block: derivatives by the depths added up plain, times (relative depth - 1), times depth.
@group(0) @binding(7) var<storage, read_write> block_sums: array<f32>;

var<workgroup> thread_sums: array<vec3<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.blocks;
    let block = blocks[min(index, params.blocks - 1u)];
    var sum = vec3<f32>();
    if (inside && thread < block.z) {
        let anchor = block.y + thread;
        let list = params.anchors + 1u;
        let end = links[anchor + 1u];
        var by = 0.0;
        for (var i = links[anchor]; i < end; i++) {
            by += segments[links[list + i]];
        }
        let relative = depths[anchor];
        let slope = of_view(block.x, SCALE) * of_view(block.x, MEDIAN);
        let depth = of_view(block.x, SCALE) * of_view(block.x, ZERO) + slope * relative;
        let gradient = slope * by;
        sum = vec3<f32>(by, by * (relative - 1.0), by * depth);
        results[anchor] = vec2<f32>(depth, gradient);
        if (params.apply == 1u) {
            var state = moments[anchor];
            state += (1.0 - DECAY) * (vec2<f32>(gradient, gradient * gradient) - state);
            moments[anchor] = state;
            depths[anchor] = relative - params.rate * state.x / (sqrt(state.y) * params.root + EPSILON);
        }
    }
    thread_sums[thread] = sum;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            thread_sums[thread] += thread_sums[thread + half];
        }
    }
    if (thread == 0u && inside) {
        let total = thread_sums[0];
        block_sums[3u * index] = total.x;
        block_sums[3u * index + 1u] = total.y;
        block_sums[3u * index + 2u] = total.z;
    }
}
