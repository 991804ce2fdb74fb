// Checks of values in a running template: see shim_guard.h.
#include "shim_guard.h"
#include "shim_json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>

using namespace jinja; // value and its kinds; `string` here is Jinja's, with marks

namespace llamacli {

namespace {

constexpr size_t MAX_VALUES = 2000000;             // in one container, counting shared ones each time
constexpr double MAX_NUMBER = double(1LL << 53);   // beyond, the arithmetic of range() overflows
constexpr double MAX_MOVED  = 5e10;                // bytes: a few seconds
constexpr size_t NODE_SIZE  = 16;                  // bytes of a serialized value, apart from its text

bool has_input(const jinja::string & text) {
    return std::any_of(text.parts.begin(), text.parts.end(), [](const auto & part) { return part.is_input && !part.val.empty(); });
}

// Whether any text in a value came from input.
bool has_input(const value & v) {
    if (is_val<value_string>(v)) {
        return has_input(v->val_str);
    }
    return std::any_of(v->val_arr.begin(), v->val_arr.end(), [](const value & item) { return has_input(item); }) ||
           std::any_of(v->val_obj.begin(), v->val_obj.end(), [](const auto & pair) { return has_input(pair.first) || has_input(pair.second); });
}

value marked(const jinja::string & text) {
    auto result = mk_val<value_string>(text);
    result->mark_input();
    return result;
}

const value & unwrap(const value & v) {
    const auto * kwarg = cast_val<value_kwarg>(v);
    return kwarg ? kwarg->val : v;
}

// The argument of a call by its name or its position.
value argument(const values & args, const char * name, size_t place) {
    for (const auto & arg : args) {
        const auto * kwarg = cast_val<value_kwarg>(arg);
        if (kwarg && kwarg->key == name) {
            return kwarg->val;
        }
    }
    return place < args.size() && !is_val<value_kwarg>(args[place]) ? args[place] : mk_val<value_undefined>();
}

double number(const value & v) {
    return is_val<value_int>(v) || is_val<value_float>(v) || is_val<value_bool>(v) ? v->as_float() : 0.0;
}

size_t occurrences(const std::string & text, const std::string & wanted) {
    if (wanted.empty()) {
        return text.size() + 1;
    }
    size_t n = 0;
    for (size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size())) {
        n++;
    }
    return n;
}

void measure(watch_state & watch, const value & v, size_t depth, size_t & count) {
    if (depth > MAX_DEPTH) {
        watch.stop("nests values too deep");
    }
    if (++count > MAX_VALUES) {
        watch.stop("makes a value of more than 2 million elements");
    }
    for (const auto & item : v->val_arr) {
        measure(watch, item, depth + 1, count);
    }
    for (const auto & pair : v->val_obj) {
        measure(watch, pair.second, depth + 1, count);
    }
}

void weigh(watch_state & watch, const value & v, size_t & bytes) {
    bytes += NODE_SIZE + v->val_str.length();
    if (bytes > watch.max_text) {
        watch.stop("writes out a value of more than " + std::to_string(watch.max_text >> 20) + " MiB");
    }
    for (const auto & item : v->val_arr) {
        weigh(watch, item, bytes);
    }
    for (const auto & pair : v->val_obj) {
        weigh(watch, pair.first, bytes);
        weigh(watch, pair.second, bytes);
    }
}

bool contains(const value & v, const value_t * wanted) {
    return v.get() == wanted ||
           std::any_of(v->val_arr.begin(), v->val_arr.end(), [&](const value & item) { return contains(item, wanted); }) ||
           std::any_of(v->val_obj.begin(), v->val_obj.end(), [&](const auto & pair) { return contains(pair.second, wanted); });
}

void check_range(watch_state & watch, const values & args) {
    const double first = args.size() > 0 ? number(args[0]) : 0;
    const double start = args.size() > 1 ? first : 0;
    const double stop  = args.size() > 1 ? number(args[1]) : first;
    const double step  = args.size() > 2 ? number(args[2]) : 1;
    if (std::max({ std::fabs(start), std::fabs(stop), std::fabs(step) }) > MAX_NUMBER) {
        watch.stop("calls range() with too large a number");
    }
    if (step != 0 && (stop - start) / step > 0) {
        const auto elements = size_t(std::ceil((stop - start) / step));
        watch.make_list(elements);
        watch.charge(elements * sizeof(value_int_t));
    }
}

void check_divisor(watch_state & watch, const values & args) { // llama.cpp does not check: SIGFPE
    for (const auto & arg : args) {
        if (is_val<value_int>(arg) && (arg->as_int() == 0 || arg->as_int() == -1)) {
            watch.stop("tests divisibility by 0 or -1");
        }
    }
}

// std::sort reads out of bounds when numbers do not compare.
void check_sortable(watch_state & watch, const value & v) {
    if (is_val<value_float>(v) && std::isnan(v->as_float())) {
        watch.stop("sorts what is not a number");
    }
    for (const auto & item : v->val_arr) {
        check_sortable(watch, item);
    }
    for (const auto & pair : v->val_obj) {
        check_sortable(watch, pair.second);
    }
}

// llama.cpp moves the rest of the text for each piece that it removes or inserts.
void check_moves(watch_state & watch, size_t pieces, size_t bytes) {
    if (double(pieces) * double(bytes) / 2 > MAX_MOVED) {
        watch.stop("takes a long text into too many pieces");
    }
}

void before_text(watch_state & watch, const std::string & name, const std::string & text, const values & args) {
    if (name == "replace" && args.size() >= 2) {
        const std::string old  = unwrap(args[0])->as_string().str();
        const size_t      with = text_size(unwrap(args[1]));
        const size_t      n    = occurrences(text, old);
        watch.make_text(text.size() + n * with);
        check_moves(watch, old.empty() || old.size() == with ? 0 : n, std::max(text.size(), text.size() + n * with));
    } else if (name == "split" || name == "rsplit") {
        const size_t n = occurrences(text, args.empty() ? " " : unwrap(args[0])->as_string().str());
        watch.make_list(n + 1);
        check_moves(watch, n, text.size());
    } else if (name == "indent") {
        const value  width  = argument(args, "width", 0);
        const double spaces = is_val<value_string>(width) ? double(text_size(width)) : number(width);
        if (spaces < 0 || spaces > 1000) {
            watch.stop("indents by too much");
        }
        watch.make_text(text.size() + (occurrences(text, "\n") + 1) * size_t(spaces));
    } else if (name == "format") {
        size_t bytes = text.size();
        for (const auto & arg : args) {
            bytes += text_size(unwrap(arg));
        }
        watch.make_text(bytes);
    }
}

void before_container(watch_state & watch, const std::string & name, const value & self, const values & args) {
    static const std::set<std::string> writers = {
        "tojson", "string", "join", "sort", "dictsort", "min", "max", "select", "selectattr", "reject", "rejectattr",
    };
    if (writers.count(name)) {
        weigh(watch, self);
    }
    if (name == "append" && !args.empty()) {
        check_insertion(watch, self, args[0]);
        watch.make_list(self->val_arr.size() + 1, 1);
    } else if (name == "join") {
        watch.make_text(self->val_arr.size() * text_size(argument(args, "d", 0)));
    } else if (name == "sort" || name == "dictsort") {
        check_sortable(watch, self);
    } else if (name.compare(0, 6, "select") == 0 || name.compare(0, 6, "reject") == 0) {
        for (const auto & arg : args) {
            if (is_val<value_string>(arg) && arg->as_string().str() == "divisibleby") {
                check_divisor(watch, args);
            }
        }
    }
}

// `text` with each `old` replaced, the parts keeping their marks.
value replace_parts(const jinja::string & text, const std::string & old, const jinja::string & with) {
    const std::string flat = text.str();
    jinja::string     result;
    size_t            part = 0; // the part that contains `from`, and its start
    size_t            base = 0;
    const auto        copy = [&](size_t from, size_t to) {
        while (from < to) {
            while (from >= base + text.parts[part].val.size()) {
                base += text.parts[part++].val.size();
            }
            const size_t end = std::min(to, base + text.parts[part].val.size());
            result.parts.push_back({ text.parts[part].is_input, text.parts[part].val.substr(from - base, end - from) });
            from = end;
        }
    };
    size_t done = 0;
    for (size_t at = flat.find(old); at != std::string::npos; at = flat.find(old, done)) {
        copy(done, at);
        result.append(with);
        done = at + old.size();
    }
    copy(done, flat.size());
    return mk_val<value_string>(result);
}

value join_parts(const value & self, const values & args) {
    const value   delimiter = argument(args, "d", 0);
    const value   attribute = argument(args, "attribute", 1);
    jinja::string result;
    for (size_t i = 0; i < self->val_arr.size(); ++i) {
        if (i > 0 && !delimiter->is_undefined()) {
            result.append(delimiter->as_string());
        }
        value item = self->val_arr[i];
        if (is_val<value_object>(item) && !attribute->is_undefined()) {
            value missing = mk_val<value_undefined>();
            item          = item->at(attribute, missing);
        }
        if (is_container(item) || item->is_undefined()) {
            return nullptr;
        }
        result.append(item->as_string());
    }
    return mk_val<value_string>(result);
}

} // namespace

size_t text_size(const value & v) {
    return is_val<value_string>(v) ? v->val_str.length() : 0;
}

bool is_container(const value & v) {
    return is_val<value_array>(v) || is_val<value_object>(v);
}

void measure(watch_state & watch, const value & v) {
    size_t count = 0;
    measure(watch, v, 0, count);
}

void weigh(watch_state & watch, const value & v) {
    size_t bytes = 0;
    if (is_container(v)) {
        weigh(watch, v, bytes);
    }
}

void check_insertion(watch_state & watch, const value & holder, const value & v) {
    measure(watch, v);
    if (is_container(v) && contains(v, holder.get())) {
        watch.stop("puts a value into itself");
    }
}

void check_product(watch_state & watch, const value & text, const value & times) {
    const double n = std::min(std::max(number(times), 0.0), 1e12);
    watch.make_text(size_t(n) * (text_size(text) + text->val_str.parts.size() * sizeof(string_part)));
}

void before(watch_state & watch, const std::string & name, const value & self, const values & args) {
    if (name == "range") {
        check_range(watch, args);
    } else if (name == "divisibleby") {
        check_divisor(watch, args);
    } else if (name == "dict" || name == "namespace") {
        for (const auto & arg : args) {
            measure(watch, unwrap(arg));
        }
    } else if (name == "tojson") {
        if (number(argument(args, "indent", 1)) > 16 || text_size(argument(args, "separators", 2)) > 16) {
            watch.stop("indents JSON by too much");
        }
    }
    if (self && is_val<value_string>(self)) {
        before_text(watch, name, self->as_string().str(), args);
    } else if (self && is_container(self)) {
        before_container(watch, name, self, args);
    }
}

value after(const std::string & name, const value & self, const values & args, value result) {
    const bool replaces = name == "replace" && args.size() >= 2 && is_val<value_string>(self);
    if (result == self || (!has_input(self) && !(replaces && has_input(unwrap(args[1]))))) {
        return result;
    }
    if (is_val<value_string>(result)) {
        if (has_input(result)) {
            return result;
        }
        value exact;
        if (replaces && text_size(unwrap(args[0])) > 0) {
            exact = replace_parts(self->val_str, unwrap(args[0])->as_string().str(), unwrap(args[1])->as_string());
        } else if (name == "join" && is_val<value_array>(self)) {
            exact = join_parts(self, args);
        }
        if (exact && exact->val_str.str() == result->val_str.str()) {
            return exact;
        }
        // An element of a container keeps its own mark: `['text', input] | first` is not input.
        return is_val<value_string>(self) || name == "tojson" || name == "string" || name == "join" ? marked(result->val_str) : result;
    }
    if ((name == "split" || name == "rsplit") && is_val<value_array>(result)) {
        for (auto & item : result->val_arr) {
            item = marked(item->as_string());
        }
    }
    return result;
}

value as_marked_text(const value & v) {
    return is_container(v) && has_input(v) ? marked(v->as_string()) : v;
}

} // namespace llamacli
