package import RPCTransport

/// TLS of a service's own port. Off unless a certificate is given.
package struct TLSSettings: Sendable {
  static let group = "TLS"

  package let certificateFile = Setting<String>.path(
    "tls-certificate-file",
    help: "PEM file of the certificate and those that lead to its root. Turns TLS on; read again when it changes."
  ).grouped(TLSSettings.group)
  package let keyFile = Setting<String>.path(
    "tls-key-file",
    help: "PEM file of the certificate's key; refused where everybody may read it. Read again when it changes."
  ).grouped(TLSSettings.group)
  package let clientAuthoritiesFile = Setting<String>.path(
    "tls-client-ca-file",
    help: "PEM file of those who may have signed a client's certificate. Makes every client show one."
  ).grouped(TLSSettings.group)

  package var definitions: [SettingDefinition] {
    [certificateFile.definition, keyFile.definition, clientAuthoritiesFile.definition]
  }

  /// nil: no TLS.
  ///
  /// - Throws: `SettingsError` where one file needs another.
  func files(_ settings: Settings) throws(SettingsError) -> TLSFiles? {
    try Self.files(
      settings, certificate: certificateFile, key: keyFile, authorities: clientAuthoritiesFile,
      isServer: true)
  }

  package static func files(
    _ settings: Settings, certificate: Setting<String>, key: Setting<String>,
    authorities: Setting<String>, isServer: Bool
  ) throws(SettingsError) -> TLSFiles? {
    let files = TLSFiles(
      certificate: settings[certificate], key: settings[key], authorities: settings[authorities])
    if files == TLSFiles() { return nil }
    let needsIdentity = isServer || !files.certificate.isEmpty || !files.key.isEmpty
    let missing = [(certificate, files.certificate), (key, files.key)].filter { $0.1.isEmpty }
    guard !needsIdentity || missing.isEmpty else {
      throw SettingsError(
        problems: missing.map { "\($0.0.definition.flag): needed for TLS with what else is given" })
    }
    return files
  }
}
