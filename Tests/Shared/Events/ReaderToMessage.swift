import Events
import Messages

/// Builds the generated message from what a reader found, to compare the two decoders.
struct ReaderToMessage {
  let reader: BatchReader
  let message: UnsafeRawBufferPointer

  func request() -> ProtoCollectRequest {
    var request = ProtoCollectRequest()
    request.appID = text(reader.appID)
    request.deviceID = text(reader.deviceID)
    request.sentMs = reader.sentMilliseconds
    request.import = reader.isImport
    request.batch = reader.batch
    request.context = context(reader.context)
    request.events = reader.events.map(event)
    return request
  }

  private func text(_ slice: ByteSlice) -> String { slice.text(in: message) }

  private func event(_ event: BatchEvent) -> ProtoEvent {
    var result = ProtoEvent()
    result.name = text(event.name)
    result.timeMs = event.timeMilliseconds
    result.pagePath = text(event.pagePath)
    result.sequence = event.sequence
    result.eventID = text(event.eventID)
    result.passive = event.isPassive
    result.fields = reader.fields(of: event).map(field)
    if let own = reader.context(of: event).own { result.context = context(own) }
    return result
  }

  private func field(_ field: BatchField) -> ProtoField {
    var result = ProtoField()
    result.name = text(field.name)
    switch field.value {
    case .missing: result.value.kind = nil
    case .text(let slice): result.value.stringValue = text(slice)
    case .integer(let value): result.value.integerValue = value
    case .double(let value): result.value.doubleValue = value
    case .boolean(let value): result.value.booleanValue = value
    }
    return result
  }

  private func context(_ context: BatchContext) -> ProtoContext {
    var result = ProtoContext()
    func text(_ field: ContextField) -> String { self.text(context.text(field)) }
    func number(_ field: ContextField) -> Int32 { Int32(context.integer(field)) }
    result.openID = text(.openID)
    result.country = text(.country)
    result.province = text(.province)
    result.city = text(.city)
    result.gender = text(.gender)
    result.device = text(.device)
    result.networkType = text(.networkType)
    result.deviceWidth = number(.deviceWidth)
    result.deviceHeight = number(.deviceHeight)
    result.osName = text(.osName)
    result.osVersion = text(.osVersion)
    result.language = text(.language)
    result.manufacturer = text(.manufacturer)
    result.deviceModel = text(.deviceModel)
    result.deviceBrand = text(.deviceBrand)
    result.scene = number(.scene)
    result.platform = text(.platform)
    result.appVersion = text(.appVersion)
    result.hostVersion = text(.hostVersion)
    result.sdkVersion = text(.sdkVersion)
    result.referrerAppID = text(.referrerAppID)
    result.qrID = text(.qrID)
    result.campaignSource = text(.campaignSource)
    result.campaignMedium = text(.campaignMedium)
    result.campaignName = text(.campaignName)
    result.campaignContent = text(.campaignContent)
    result.campaignTerm = text(.campaignTerm)
    result.shareID = text(.shareID)
    result.releaseChannel =
      ProtoReleaseChannel(rawValue: Int(context.integer(.releaseChannel))) ?? .unspecified
    result.age = number(.age)
    for experiment in reader.experiments(of: context) {
      result.experiments[self.text(experiment.name)] = self.text(experiment.variant)
    }
    return result
  }
}

/// Both decoders' results without the difference between an absent and an empty nested message, which no rule sees.
func normalised(_ request: ProtoCollectRequest) -> ProtoCollectRequest {
  var result = request
  result.context = request.context
  result.events = request.events.map { event in
    var copy = event
    copy.context = event.context
    copy.fields = event.fields.map { field in
      var copy = field
      copy.value = field.value
      return copy
    }
    return copy
  }
  return result
}
