// THREADS pixels for each workgroup. First an invocation sums the squares of a pixel, which brings the pixels of the workgroup
// into the caches; then all invocations write neighbouring values.
//
// Header: Elem, THREADS, DIM, REST.

struct Params { count: u32, raw_shift: u32, unit_shift: u32, rest_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> raw: array<Elem>;
@group(0) @binding(1) var<storage, read_write> unit: array<u32>;
@group(0) @binding(2) var<storage, read_write> rest: array<f32>;

const CHANNELS: u32 = DIM + REST;
const NOT_A_NUMBER: u32 = 0x7fc00000u;

var<workgroup> norms: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = (group.x + group.y * 32768u) * THREADS;
    let own = params.raw_shift + min(first + thread, params.count - 1u) * CHANNELS;
    var sums = vec4<f32>();
    for (var c = 0u; c < DIM / 4u; c++) {
        let at = own + 4u * c;
        let v = vec4<f32>(f32(raw[at]), f32(raw[at + 1u]), f32(raw[at + 2u]), f32(raw[at + 3u]));
        sums += v * v;
    }
    for (var c = DIM / 4u * 4u; c < DIM; c++) {
        let v = f32(raw[own + c]);
        sums.x += v * v;
    }
    norms[thread] = sqrt((sums.x + sums.y) + (sums.z + sums.w));
    workgroupBarrier();
    // Workgroups behind the end have no pixels.
    let pixels = min(max(params.count, first) - first, THREADS);
    for (var i = thread; i < pixels * DIM; i += THREADS) {
        let pixel = i / DIM;
        let norm = norms[pixel];
        let v = f32(raw[params.raw_shift + (first + pixel) * CHANNELS + i % DIM]);
        unit[params.unit_shift + first * DIM + i] = select(bitcast<u32>(v / norm), NOT_A_NUMBER, norm == 0.0);
    }
    for (var i = thread; i < pixels * REST; i += THREADS) {
        let pixel = i / max(REST, 1u);
        let c = DIM + i - pixel * REST;
        rest[params.rest_shift + first * REST + i] = f32(raw[params.raw_shift + (first + pixel) * CHANNELS + c]);
    }
}
