// Bounds of the JSON schemas of tools, which llama.cpp converts itself: see shim_grammar.h.
#include "shim_grammar.h"

#include <algorithm>
#include <set>

namespace llamacli {

namespace {

constexpr size_t MAX_SCHEMA   = size_t(1) << 20; // bytes of its text
constexpr size_t MAX_COST     = 200000;          // schemas, after type lists and allOf are expanded
constexpr size_t MAX_OPTIONAL = 400;             // properties of an object, for which llama.cpp takes cubic time

// Walks a schema as llama.cpp's converter does, and counts its visits.
class schema_walk {
  public:
    explicit schema_walk(const json & root) : root(root) { visit(root); }

  private:
    const json &          root;
    size_t                cost = 0;
    std::set<std::string> resolved;  // references, which the converter visits once each
    std::set<std::string> expanding; // references in an allOf, which it expands every time

    [[noreturn]] static void fail(const std::string & message) { throw failure("schema", message); }

    void spend(size_t n) {
        cost += n;
        if (cost > MAX_COST) {
            fail("the schema is too large when it is expanded");
        }
    }

    // The target of a reference, or nullptr; then the converter reports the error.
    const json * resolve(const std::string & reference) const {
        if (reference.compare(0, 2, "#/") != 0) {
            return nullptr;
        }
        const json * target = &root;
        for (size_t at = 2; at <= reference.size();) {
            const size_t      end  = std::min(reference.find('/', at), reference.size());
            const std::string step = reference.substr(at, end - at);
            if (target->is_object() && target->contains(step)) {
                target = &target->at(step);
            } else if (target->is_array() && !step.empty() && step.size() < 9 && step.find_first_not_of("0123456789") == std::string::npos &&
                       std::stoul(step) < target->size()) {
                target = &target->at(std::stoul(step));
            } else {
                return nullptr;
            }
            at = end + 1;
        }
        return target;
    }

    static const json * reference_of(const json & schema) {
        return schema.is_object() && schema.contains("$ref") && schema.at("$ref").is_string() ? &schema.at("$ref") : nullptr;
    }

    void check_order(const json & schema, const char * least, const char * most) const {
        if (schema.contains(least) && schema.contains(most) && schema.at(least).is_number() && schema.at(most).is_number() &&
            schema.at(least).get<double>() > schema.at(most).get<double>()) {
            fail(std::string(least) + " is greater than " + most);
        }
    }

    void visit_each(const json & schemas) {
        if (schemas.is_array()) {
            for (const auto & schema : schemas) {
                visit(schema);
            }
        } else {
            visit(schemas);
        }
    }

    void visit(const json & schema) {
        spend(1);
        if (!schema.is_object()) {
            return;
        }
        if (const auto * reference = reference_of(schema)) {
            visit_reference(reference->get<std::string>());
            return;
        }
        for (const char * key : { "oneOf", "anyOf" }) {
            if (schema.contains(key)) {
                visit_each(schema.at(key));
                return;
            }
        }
        const size_t types = schema.contains("type") && schema.at("type").is_array() ? schema.at("type").size() : 1;
        for (size_t i = 0; i < types; ++i) { // the converter copies the schema for each of them
            visit_plain(schema);
        }
    }

    void visit_reference(const std::string & reference) {
        const json * target = resolve(reference);
        if (target && resolved.insert(reference).second) {
            visit(*target);
        }
    }

    void visit_plain(const json & schema) {
        check_order(schema, "minLength", "maxLength");
        check_order(schema, "minItems", "maxItems");
        for (const char * least : { "minimum", "exclusiveMinimum" }) {
            check_order(schema, least, "maximum");
            check_order(schema, least, "exclusiveMaximum");
        }
        if (schema.contains("properties")) {
            visit_properties(schema);
        }
        for (const char * key : { "items", "prefixItems", "additionalProperties" }) {
            if (schema.contains(key)) {
                visit_each(schema.at(key));
            }
        }
        if (schema.contains("allOf") && schema.at("allOf").is_array()) {
            for (const auto & component : schema.at("allOf")) {
                if (component.is_object() && component.contains("anyOf") && component.at("anyOf").is_array()) {
                    for (const auto & alternative : component.at("anyOf")) {
                        expand(alternative);
                    }
                } else {
                    expand(component);
                }
            }
        }
    }

    void visit_properties(const json & schema) {
        const auto & properties = schema.at("properties");
        const size_t required   = schema.contains("required") && schema.at("required").is_array() ? schema.at("required").size() : 0;
        if (properties.is_object() && properties.size() > required + MAX_OPTIONAL) {
            fail("an object has more than " + std::to_string(MAX_OPTIONAL) + " optional properties");
        }
        if (properties.is_object()) {
            for (const auto & [name, property] : properties.items()) {
                visit(property);
            }
        }
    }

    // A component of an allOf.
    void expand(const json & component) {
        spend(1);
        const auto * reference = reference_of(component);
        if (!reference) {
            visit(component);
            return;
        }
        const auto   name   = reference->get<std::string>();
        const json * target = resolve(name);
        if (!target) {
            return;
        }
        if (!expanding.insert(name).second) {
            fail("the allOf with " + name + " contains itself");
        }
        expand(*target);
        expanding.erase(name);
    }
};

} // namespace

void check_schema(const json & schema) {
    if (schema.dump().size() > MAX_SCHEMA) {
        throw failure("schema", "the schema is longer than 1 MiB");
    }
    schema_walk walk(schema);
}

} // namespace llamacli
