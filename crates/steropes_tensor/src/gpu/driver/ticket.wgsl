// Counts the submits that ran to their end: the number moves only if all submits before this one did.
// Some drivers drop a failed submit without a word; then the count stops.

struct Params { number: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> done: array<u32>;

@compute @workgroup_size(1)
fn main() {
    if (done[0] + 1u == params.number) {
        done[0] = params.number;
    }
}
