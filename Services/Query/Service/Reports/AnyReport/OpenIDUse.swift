import Events
import Foundation
import Messages
import RPC
import ServiceKit
import SwiftProtobuf

extension ReportRequest {
  /// Users are named to those only who may see them: `open_id` as the values of a breakdown, or tried out by filters, would name
  /// them as `ListUsers` does.
  ///
  /// - Throws: PERMISSION_DENIED where the request uses `open_id` and the token may not see users.
  func checkUse(of principal: Principal) throws {
    guard !principal.holds(Scope.queryUsers) else { return }
    let openID = ContextField.openID.name
    var filters = OpenIDFilters(name: openID)
    try traverse(visitor: &filters)
    guard filters.found || breakdownFields.contains(openID) else { return }
    throw RPCError(
      .permissionDenied,
      "\(openID): a breakdown or a filter by it names users, which needs the scope \(Scope.queryUsers)")
  }
}

/// Looks for a filter's condition on a field, wherever in a message.
private struct OpenIDFilters: Visitor {
  let name: String
  private(set) var found = false

  init(name: String) { self.name = name }

  mutating func visitSingularMessageField<M: Message>(value: M, fieldNumber: Int) throws {
    if let condition = value as? ProtoCondition, condition.field == name { found = true }
    try value.traverse(visitor: &self)
  }

  mutating func visitSingularDoubleField(value: Double, fieldNumber: Int) {}
  mutating func visitSingularInt64Field(value: Int64, fieldNumber: Int) {}
  mutating func visitSingularUInt64Field(value: UInt64, fieldNumber: Int) {}
  mutating func visitSingularBoolField(value: Bool, fieldNumber: Int) {}
  mutating func visitSingularStringField(value: String, fieldNumber: Int) {}
  mutating func visitSingularBytesField(value: Data, fieldNumber: Int) {}
  mutating func visitSingularEnumField<E: Enum>(value: E, fieldNumber: Int) {}
  mutating func visitMapField<KeyType, ValueType: MapValueType>(
    fieldType: _ProtobufMap<KeyType, ValueType>.Type,
    value: _ProtobufMap<KeyType, ValueType>.BaseType, fieldNumber: Int
  ) {}
  mutating func visitMapField<KeyType, ValueType>(
    fieldType: _ProtobufEnumMap<KeyType, ValueType>.Type,
    value: _ProtobufEnumMap<KeyType, ValueType>.BaseType, fieldNumber: Int
  ) where ValueType.RawValue == Int {}
  mutating func visitMapField<KeyType, ValueType>(
    fieldType: _ProtobufMessageMap<KeyType, ValueType>.Type,
    value: _ProtobufMessageMap<KeyType, ValueType>.BaseType, fieldNumber: Int
  ) {}
  mutating func visitUnknown(bytes: Data) {}
}
