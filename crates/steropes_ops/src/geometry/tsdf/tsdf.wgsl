// One invocation for each point, which visits all maps of a launch. Where these are not all maps, its average waits in `averages`.
//
// Header: THREADS, maps.wgsl.

struct Params {
    count: u32, views: u32, is_first: u32, is_last: u32, views_shift: u32, points_shift: u32, values_shift: u32, threshold: f32,
}
var<immediate> params: Params;
@group(0) @binding(3) var<storage, read> points: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> seen: array<u32>;
@group(0) @binding(6) var<storage, read_write> averages: array<Average>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let at = params.points_shift + 3u * i;
        let p = vec4<f32>(points[at], points[at + 1u], points[at + 2u], 1.0);
        var average = Average();
        if (params.is_first == 0u) {
            average = averages[i];
        }
        for (var k = 0u; k < params.views; k++) {
            let view = views[params.views_shift + k];
            let point = vec3<f32>(dot(view.u, p), dot(view.v, p), dot(view.z, p));
            add_distance(&average, view.size, point, params.threshold);
        }
        if (params.is_last == 0u) {
            averages[i] = average;
            return;
        }
        let some = average.weights > 0.0;
        values[params.values_shift + i] = select(0.0, average.weighted / average.weights, some);
        seen[params.values_shift + i] = select(0u, 1u, some);
    }
}
