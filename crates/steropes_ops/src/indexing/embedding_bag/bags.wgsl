struct Params { bags: u32, entries: u32, rows: u32, width: u32, padding: u32, nan: u32 }
var<immediate> params: Params;

const SUM: u32 = 0u;
const MEAN: u32 = 1u;
const MAX: u32 = 2u;

// Where a bag begins, cut off at the number of entries.
fn bag_bound(bag: u32) -> u32 {
    if (bag >= params.bags && !WITH_END) {
        return params.entries;
    }
    let offset = offsets_at(bag);
    return select(params.entries, offset.x, offsets_is_below(offset, params.entries));
}
