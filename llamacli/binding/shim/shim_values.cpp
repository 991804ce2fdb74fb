// Marks of input in the values of a running template: see shim_marks.h.
#include "shim_marks.h"

#include <algorithm>

using namespace jinja; // value and its kinds; `string` here is Jinja's, with marks

namespace llamacli {

namespace {

size_t text_size(const value & v) {
    return is_val<value_string>(v) ? v->val_str.length() : 0;
}

bool is_container(const value & v) {
    return is_val<value_array>(v) || is_val<value_object>(v);
}

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

value with_marks(const std::string & name, const value & self, const values & args, value result) {
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
