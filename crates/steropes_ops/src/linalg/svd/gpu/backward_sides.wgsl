// left = u middle + (grad_u - u p) / s and right = (grad_vh - q^T vh) / s: an invocation for each entry. The second term of a side
// is there only if its vectors are not a whole basis.
//
// Header: ROWS, COLUMNS, K.

struct Params { count: u32, u: u32, s: u32, vh: u32, grad_u: u32, grad_vh: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> vh: array<f32>;
@group(0) @binding(3) var<storage, read> grad_u: array<f32>;
@group(0) @binding(4) var<storage, read> grad_vh: array<f32>;
@group(0) @binding(5) var<storage, read> p: array<f32>;
@group(0) @binding(6) var<storage, read> q: array<f32>;
@group(0) @binding(7) var<storage, read> middle: array<f32>;
@group(0) @binding(8) var<storage, read_write> left: array<f32>;
@group(0) @binding(9) var<storage, read_write> right: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * 64u + thread;
    let each = (ROWS + COLUMNS) * K;
    if (index >= params.count * each) { return; }
    let matrix = index / each;
    let entry = index % each;
    let inner = matrix * (K * K);
    if (entry < ROWS * K) {
        let row = matrix * (ROWS * K) + entry / K * K;
        let c = entry % K;
        var sum = 0.0;
        var outside = grad_u[params.grad_u + row + c];
        for (var k = 0u; k < K; k++) {
            let x = u[params.u + row + k];
            sum = fma(x, middle[inner + k * K + c], sum);
            outside = fma(-x, p[inner + k * K + c], outside);
        }
        if (ROWS > K) { sum += outside / s[params.s + matrix * K + c]; }
        left[row + c] = sum;
    } else {
        let c = entry - ROWS * K;
        let r = c / COLUMNS;
        let first = matrix * (K * COLUMNS);
        var outside = grad_vh[params.grad_vh + first + c];
        for (var k = 0u; k < K; k++) {
            outside = fma(-q[inner + k * K + r], vh[params.vh + first + k * COLUMNS + c % COLUMNS], outside);
        }
        var x = 0.0;
        if (COLUMNS > K) { x = outside / s[params.s + matrix * K + r]; }
        right[first + c] = x;
    }
}
