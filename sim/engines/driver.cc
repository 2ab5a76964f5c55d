// The generic half of a compiled simulation: compiled in one unit behind the C++ that CXXRTL wrote
// for the design, and called from Python through ctypes. Values cross as little-endian 32-bit words,
// which is CXXRTL's own layout.

#include <new>
#include <set>

// Set by the build when CXXRTL reports combinational feedback: one evaluation then does not settle
// the design.
#ifndef GPTLOOM_FEEDBACK
#define GPTLOOM_FEEDBACK 0
#endif

#define GPTLOOM_API extern "C" __attribute__((visibility("default")))

namespace {

using design_t = cxxrtl_design::p_top;
using part_t = cxxrtl::debug_item;

// A purely combinational design has no edge detector, hence the two overloads.
template <class T> auto arm_edge(T &top, int) -> decltype(top.prev_p_clk, void()) {
	top.prev_p_clk.template set<uint32_t>(0);
}
template <class T> void arm_edge(T &, long) {}
template <class T> auto disarm_edge(T &top, int) -> decltype(top.prev_p_clk, void()) {
	top.prev_p_clk.template set<uint32_t>(1);
}
template <class T> void disarm_edge(T &, long) {}

// commit() announces every change before making it, and points at the new value. Overwriting that
// with the old one turns the commit into "forget the edge that was just evaluated".
struct veto_observer {
	void on_update(size_t chunks, const chunk_t *base, const chunk_t *value) {
		std::copy(base, base + chunks, const_cast<chunk_t *>(value));
	}
	void on_update(size_t chunks, const chunk_t *base, const chunk_t *value, size_t index) {
		on_update(chunks, base + chunks * index, value);
	}
};

// Up to 64 bits of a recorded signal, flattened for the inner loop: where they are kept, and where
// they belong in a column of the row. What a column cannot hold goes to the next by a probe of its
// own, which leaves out the low bits.
struct probe_t {
	const chunk_t *curr;
	unsigned shift;
	unsigned dropped;
	bool wide;
	size_t column;
};

// What is written of chosen signals in a cycle: each signal's words of 64 bits, lowest first.
struct recorder {
	std::vector<probe_t> probes;
	std::set<cxxrtl_outline> outlines;  // recomputed per sample: recorded, but optimised out
	size_t columns = 0;

	void add(const std::vector<part_t> &parts) {
		for (const auto &part : parts) {
			probe(part, columns);
			if (part.outline)
				outlines.insert(part.outline);
		}
		size_t width = parts.back().lsb_at + parts.back().width;
		columns += std::max<size_t>((width + 63) / 64, 1);
	}

	void sample(uint64_t *row) {
		for (auto outline : outlines)
			outline->eval();
		std::fill(row, row + columns, 0);
		for (const auto &probe : probes) {
			uint64_t bits = probe.curr[0];
			if (probe.wide)
				bits |= uint64_t(probe.curr[1]) << 32;
			row[probe.column] |= bits >> probe.dropped << probe.shift;
		}
	}

private:
	void probe(const part_t &part, size_t column) {
		for (size_t bit = 0; bit < part.width; bit += 64) {
			size_t at = part.lsb_at + bit;
			unsigned size = unsigned(std::min<size_t>(part.width - bit, 64)), shift = at % 64;
			probe_t probe{part.curr + bit / 32, shift, 0, size > 32, column + at / 64};
			probes.push_back(probe);
			if (shift + size > 64) {
				probe.column++;
				probe.shift = 0;
				probe.dropped = 64 - shift;
				probes.push_back(probe);
			}
		}
	}
};

struct simulation {
	design_t top;
	cxxrtl::debug_items items;
	std::vector<const std::vector<part_t> *> handles;
	std::vector<const char *> names;
	recorder recorded;
	bool settled = false;

	simulation() {
		top.debug_info(&items, /*scopes=*/nullptr, "");
		for (const auto &entry : items.table)
			names.push_back(entry.first.c_str());
		// The clock stays high: an edge is made by resetting the detector's memory of it, which
		// saves evaluating the falling edge.
		top.p_clk.template set<uint32_t>(1);
	}

	void settle() {
		if (settled)
			return;
		disarm_edge(top, 0);
		while (!top.eval() && top.commit()) {}
		settled = true;
	}

	bool is_high(const std::vector<part_t> &parts) {
		if (parts[0].outline)
			parts[0].outline->eval();
		return parts[0].curr[0] & 1;
	}

	uint64_t run(uint64_t max_cycles, const std::vector<part_t> *until, uint64_t *rows) {
		cxxrtl::observer apply;
		for (uint64_t cycle = 0; cycle < max_cycles; cycle++) {
			// Without feedback one evaluation gives both this cycle's settled values and the
			// registers' next ones, so that `until` and the recording see the cycle before its edge.
			if (GPTLOOM_FEEDBACK) {
				settle();
				if (until && is_high(*until))
					return cycle;
			}
			arm_edge(top, 0);
			top.eval();
			if (!GPTLOOM_FEEDBACK && until && is_high(*until)) {
				veto_observer veto;
				top.commit(veto);
				settled = true;
				return cycle;
			}
			if (rows) {
				recorded.sample(rows);
				rows += recorded.columns;
			}
			top.commit(apply);
			settled = false;
		}
		return max_cycles;
	}

	// Offers items on a stream, whose `valid` is high; returns how many were taken.
	size_t send(const part_t &payload, const std::vector<part_t> &ready, const uint64_t *items,
			size_t count, uint64_t patience, uint64_t *cycles) {
		cxxrtl::observer apply;
		size_t taken = 0;
		*cycles = 0;
		for (uint64_t waited = 0; taken < count && waited <= patience; (*cycles)++) {
			payload.next[0] = chunk_t(items[taken]);
			if (payload.width > 32)
				payload.next[1] = chunk_t(items[taken] >> 32);
			settled = false;
			if (GPTLOOM_FEEDBACK)
				settle();
			arm_edge(top, 0);
			top.eval();
			bool is_taken = is_high(ready);
			top.commit(apply);
			settled = false;
			waited = is_taken ? 0 : waited + 1;
			taken += is_taken;
		}
		return taken;
	}
};

}  // namespace

GPTLOOM_API simulation *gptloom_open() { return new simulation; }

GPTLOOM_API void gptloom_close(simulation *sim) { delete sim; }

GPTLOOM_API void gptloom_reset(simulation *sim) {
	// The design's own reset() passes over what has no initial value, read ports among them. Built
	// anew in the same place, all that debug_info() pointed at stays where it was.
	sim->top.~design_t();
	new (&sim->top) design_t;
	sim->top.p_clk.template set<uint32_t>(1);
	sim->settled = false;
}

// Returns a handle (or -1) for the signal of this name, and its width.
GPTLOOM_API int gptloom_find(simulation *sim, const char *name, uint32_t *width) {
	auto entry = sim->items.table.find(name);
	if (entry == sim->items.table.end() || sim->items.is_memory(name))
		return -1;
	const auto &parts = entry->second;
	*width = parts.back().lsb_at + parts.back().width;
	sim->handles.push_back(&parts);
	return int(sim->handles.size()) - 1;
}

GPTLOOM_API void gptloom_peek(simulation *sim, int handle, uint32_t *words) {
	sim->settle();
	for (const auto &part : *sim->handles[handle]) {
		if (part.outline)
			part.outline->eval();
		for (size_t bit = 0; bit < part.width; bit += 32) {
			size_t at = part.lsb_at + bit;
			uint64_t chunk = uint64_t(part.curr[bit / 32]) << (at % 32);
			words[at / 32] |= uint32_t(chunk);
			if (chunk >> 32)
				words[at / 32 + 1] |= uint32_t(chunk >> 32);
		}
	}
}

// Only for inputs, which CXXRTL always keeps in one part.
GPTLOOM_API void gptloom_poke(simulation *sim, int handle, const uint32_t *words) {
	const auto &part = sim->handles[handle]->front();
	std::copy(words, words + (part.width + 31) / 32, part.next);
	sim->settled = false;
}

// Returns the name of the design's signal or memory of this number, or null behind the last one.
GPTLOOM_API const char *gptloom_name(simulation *sim, size_t number) {
	return number < sim->names.size() ? sim->names[number] : nullptr;
}

// Chooses what gptloom_run()'s rows hold.
GPTLOOM_API void gptloom_record(simulation *sim, const int *handles, size_t count) {
	sim->recorded = recorder();
	for (size_t number = 0; number < count; number++)
		sim->recorded.add(*sim->handles[handles[number]]);
}

// Hands items of up to 64 bits to a stream, given the handles of its payload and its `ready`, while
// its `valid` is high. Gives up after `patience` edges without one; counts the edges in `cycles`.
GPTLOOM_API size_t gptloom_send(simulation *sim, int payload, int ready, const uint64_t *items,
		size_t count, uint64_t patience, uint64_t *cycles) {
	const auto &port = sim->handles[payload]->front();
	return sim->send(port, *sim->handles[ready], items, count, patience, cycles);
}

// Makes clock edges until `until` (a handle, or -1) is high, at most max_cycles; returns how many.
// `rows`, unless null, receives one row of recorded values per edge.
GPTLOOM_API uint64_t gptloom_run(simulation *sim, uint64_t max_cycles, int until, uint64_t *rows) {
	return sim->run(max_cycles, until < 0 ? nullptr : sim->handles[until], rows);
}
