// One workgroup per image: adds up the derivatives by its camera over its edges, SLICES invocations per value, then one.
//
// Header: BY_VIEW, SLICES (SLICES * BY_VIEW invocations work).

struct Params { images: u32 }
var<immediate> params: Params;
// Where the edges of every image start and end, then where each one's derivatives by this image lie in `by_edges`.
@group(0) @binding(0) var<storage, read> incidence: array<u32>;
@group(0) @binding(1) var<storage, read> by_edges: array<f32>;
@group(0) @binding(2) var<storage, read_write> by_views: array<f32>;

var<workgroup> slice_sums: array<f32, SLICES * BY_VIEW>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let image = min(index, params.images - 1u);
    let list = params.images + 1u;
    if (thread < SLICES * BY_VIEW) {
        let end = incidence[image + 1u];
        var sum = 0.0;
        for (var i = incidence[image] + thread / BY_VIEW; i < end; i += SLICES) {
            sum += by_edges[incidence[list + i] + thread % BY_VIEW];
        }
        slice_sums[thread] = sum;
    }
    workgroupBarrier();
    if (thread < BY_VIEW && index < params.images) {
        var sum = 0.0;
        for (var s = 0u; s < SLICES; s++) {
            sum += slice_sums[s * BY_VIEW + thread];
        }
        by_views[image * BY_VIEW + thread] = sum;
    }
}
