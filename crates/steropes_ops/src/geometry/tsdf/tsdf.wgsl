// One invocation for each point, which visits all maps.
//
// Header: THREADS, maps.wgsl.

struct Params { count: u32, views: u32, threshold: f32 }
var<immediate> params: Params;
@group(0) @binding(3) var<storage, read> points: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> seen: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let p = vec4<f32>(points[3u * i], points[3u * i + 1u], points[3u * i + 2u], 1.0);
        var average = Average();
        for (var k = 0u; k < params.views; k++) {
            let view = views[k];
            let point = vec3<f32>(dot(view.u, p), dot(view.v, p), dot(view.z, p));
            add_distance(&average, view.size, point, params.threshold);
        }
        let some = average.weights > 0.0;
        values[i] = select(0.0, average.weighted / average.weights, some);
        seen[i] = select(0u, 1u, some);
    }
}
