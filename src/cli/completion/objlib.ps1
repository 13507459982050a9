# objlib completions powershell >> $PROFILE
Register-ArgumentCompleter -Native -CommandName objlib -ScriptBlock {
    param($current, $line, $cursor)
    $before = @($line.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursor } | ForEach-Object { "$_" })
    & "$($line.CommandElements[0])" complete "--current=$current" -- @before 2>$null | ForEach-Object {
        $value, $about = $_ -split "`t", 2
        $typed = if ($value -match '\s') { "'" + ($value -replace "'", "''") + "'" } else { $value }
        if (-not $about) { $about = $value }
        [System.Management.Automation.CompletionResult]::new($typed, $value, 'ParameterValue', $about)
    }
}
